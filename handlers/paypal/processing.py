"""What a proven event means: states, money, the plans that changed, and the record of all of it.

Source: docs/providers/paypal.md, "Processing".
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from handlers.paypal.events import SALE_REFUNDED, SALE_REVERSED, SALES, SUBSCRIPTION, PaypalEvent, read_event
from handlers.paypal.payments import apply_sale
from handlers.paypal.recording import record
from handlers.paypal.refunds import apply_refund
from handlers.paypal.settings import TAIWAN, PaypalSettings
from handlers.paypal.states import PAYMENT_FAILED, apply_status
from handlers.paypal.tables import PLANS, PaypalPlanChange, PaypalSubscription
from hub.capability import handler
from hub.store.upserts import insert_for
from schemas.paypal import WebhookVerified

if TYPE_CHECKING:
    from hub.deliver.context import Context

PLAN: Final = "BILLING.PLAN."
FAILURES: Final = (PAYMENT_FAILED, "PAYMENT.SALE.DENIED")
HINT_TAIWAN: Final = "domestic_not_supported: PayPal processes no payment between two accounts in Taiwan"


@handler
async def process_webhook(verified: WebhookVerified, ctx: Context) -> None:
    """Do what the event asks for, and record it; what PayPal's simulator says is only recorded.

    Running it again changes nothing: older news never win, and a payment or refund is booked once.
    """
    found = read_verified(verified)
    if found.subscription_id is not None:
        ctx.tag("subscription", found.subscription_id)
    outcome, custom_id = "simulated", None
    if verified.verdict == "valid":
        outcome, custom_id = await _process(found, ctx)
    ctx.conclude(outcome)
    await record(
        ctx,
        found,
        verified.webhook_event_id,
        verdict=verified.verdict,
        reason=await _reason(found, verified, ctx),
        outcome=outcome,
        custom_id=custom_id,
    )


def read_verified(verified: WebhookVerified) -> PaypalEvent:
    """The event as it came: under the id that was claimed, and where PayPal names no time, at that of its webhook."""
    found = read_event(verified.event)
    changed_at = found.changed_at or verified.received_at
    return replace(found, id=verified.event_id, account=verified.account, changed_at=changed_at)


async def _process(found: PaypalEvent, ctx: Context) -> tuple[str, str | None]:
    """What became of the event, and whose it is as far as that is known."""
    if found.type.startswith(SUBSCRIPTION) and found.subscription_id is not None:
        return await apply_status(found, ctx)
    if found.type in SALES:
        return await apply_sale(found, ctx)
    if found.type in (SALE_REFUNDED, SALE_REVERSED):
        return await apply_refund(found, ctx)
    if found.type.startswith(PLAN):
        await _drop_plans(ctx)
        return "plans_changed", None
    return "recorded", None


async def _reason(found: PaypalEvent, verified: WebhookVerified, ctx: Context) -> str:
    said = found.reason_code or ("signed by PayPal" if verified.transmission_id else "read from PayPal's API")
    return f"{said}; {HINT_TAIWAN}" if await _is_domestic(found, ctx) else said


async def _is_domestic(found: PaypalEvent, ctx: Context) -> bool:
    """Whether a payment failed whose buyer is in Taiwan, as the seller is: PayPal processes no such payment."""
    settings: PaypalSettings = ctx.settings
    if settings.merchant_country != TAIWAN or found.type not in FAILURES or found.subscription_id is None:
        return False
    row = await ctx.session.get(PaypalSubscription, found.subscription_id)
    return (found.country or (row.country if row is not None else None)) == TAIWAN


async def _drop_plans(ctx: Context) -> None:
    """Whoever keeps the list of plans, in whichever process, reads it anew."""
    new = insert_for(ctx.session.get_bind().dialect.name, PaypalPlanChange).values(name=PLANS, changed_at=ctx.now)
    await ctx.session.execute(
        new.on_conflict_do_update(index_elements=["name"], set_={"changed_at": new.excluded.changed_at})
    )
