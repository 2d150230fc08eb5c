"""What a proven event means: states, money, the plans that changed, and the record of all of it.

Source: docs/providers/paypal.md, "Processing".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from handlers.paypal.events import SALE_REFUNDED, SALE_REVERSED, SALES, SUBSCRIPTION, PaypalEvent, read_event
from handlers.paypal.payments import apply_sale
from handlers.paypal.recording import record
from handlers.paypal.refunds import apply_refund
from handlers.paypal.states import apply_status
from handlers.paypal.tables import PLANS, PaypalPlanChange
from hub.capability import handler
from hub.store.upserts import insert_for
from schemas.paypal import WebhookVerified

if TYPE_CHECKING:
    from hub.deliver.context import Context

PLAN: Final = "BILLING.PLAN."


@handler
async def process_webhook(verified: WebhookVerified, ctx: Context) -> None:
    """Do what the event asks for, and record it; what PayPal's simulator says is only recorded.

    Running it again changes nothing: older news never win, and a payment or refund is booked once.
    """
    found = read_event(verified.event)
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
        reason=found.reason_code or "signed by PayPal",
        outcome=outcome,
        custom_id=custom_id,
    )


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


async def _drop_plans(ctx: Context) -> None:
    """Whoever keeps the list of plans, in whichever process, reads it anew."""
    new = insert_for(ctx.session.get_bind().dialect.name, PaypalPlanChange).values(name=PLANS, changed_at=ctx.now)
    await ctx.session.execute(
        new.on_conflict_do_update(index_elements=["name"], set_={"changed_at": new.excluded.changed_at})
    )
