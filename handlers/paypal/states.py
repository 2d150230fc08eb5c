"""The state of a subscription, by PayPal's own times: news come in any order, and older news change nothing.

Source: docs/providers/paypal.md, "Order".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from handlers.paypal.events import PaypalEvent
from handlers.paypal.tables import STATUSES, PaypalSubscription
from hub.store.upserts import insert_for
from schemas.paypal import SubscriptionShown

if TYPE_CHECKING:
    from hub.deliver.context import Context

FINAL: Final = ("CANCELLED", "EXPIRED")
RANKS: Final = {name: rank for rank, name in enumerate(STATUSES)}
"""Of two news of one moment, the later step counts, in whichever order they come."""
REACTIVATED: Final = "BILLING.SUBSCRIPTION.RE-ACTIVATED"
PAYMENT_FAILED: Final = "BILLING.SUBSCRIPTION.PAYMENT.FAILED"

log: structlog.stdlib.BoundLogger = structlog.get_logger("handlers.paypal")


async def subscription_of(found: PaypalEvent, ctx: Context) -> PaypalSubscription:
    """The subscription's row, locked; a stub where nobody has heard of it."""
    stub = insert_for(ctx.session.get_bind().dialect.name, PaypalSubscription).values(
        subscription_id=found.subscription_id, account=found.account, created_at=ctx.now, updated_at=ctx.now
    )
    await ctx.session.execute(stub.on_conflict_do_nothing())
    row = await ctx.session.get(PaypalSubscription, found.subscription_id, with_for_update=True, populate_existing=True)
    assert row is not None
    if found.custom_id is not None and row.custom_id is None:
        row.custom_id, row.updated_at = found.custom_id, ctx.now
    elif found.custom_id is not None and row.custom_id != found.custom_id:
        # What was stored when the subscription was made stands.
        ctx.tag("custom_id_differs", found.custom_id)
        log.warning("custom_id_differs", subscription_id=row.subscription_id, paypal_event_id=found.id)
    return row


async def apply_status(found: PaypalEvent, ctx: Context) -> tuple[str, str | None]:
    """Give the subscription the event's status unless something newer is known.

    CANCELLED and EXPIRED are left only by a re-activation. Answers with the outcome and the owner.
    """
    row = await subscription_of(found, ctx)
    outcome = "payment_failed" if found.type == PAYMENT_FAILED else "status_known"
    said_at = found.changed_at or ctx.event.received_at
    is_older = row.status_at is not None and (
        said_at < row.status_at or (said_at == row.status_at and _rank(found.status) < _rank(row.status))
    )
    is_final = row.status in FINAL and found.status not in FINAL and found.type != REACTIVATED
    # Whoever says it first: an older event may be the only one that names them.
    row.plan_id = row.plan_id or found.plan_id
    row.email = row.email or found.email
    row.country = row.country or found.country
    if is_older or is_final:
        return ("payment_failed" if found.type == PAYMENT_FAILED else "older_news"), row.custom_id
    if found.status in STATUSES and found.status != row.status:
        row.status, row.abandoned_at = found.status, None
        outcome = "payment_failed" if found.type == PAYMENT_FAILED else "status_changed"
    row.status_at, row.updated_at = said_at, ctx.now
    row.plan_id = found.plan_id or row.plan_id
    row.email = found.email or row.email
    return outcome, row.custom_id


async def apply_shown(shown: SubscriptionShown, ctx: Context) -> str:
    """Take over what PayPal's API says now: also out of a final status, which no event but one leaves.

    An event whose time is later than PayPal's answer stands.
    """
    key = PaypalEvent(
        id="",
        type="",
        resource={},
        account=shown.account,
        subscription_id=shown.subscription_id,
        custom_id=shown.custom_id,
    )
    row = await subscription_of(key, ctx)
    row.plan_id = row.plan_id or shown.plan_id
    is_older = row.status_at is not None and shown.changed_at is not None and shown.changed_at < row.status_at
    if shown.status not in STATUSES or is_older:
        return "older_news"
    outcome = "status_known"
    if shown.status != row.status:
        row.status, row.abandoned_at, outcome = shown.status, None, "status_changed"
    # Our own time of asking orders nothing: by a clock that is ahead, the next event would be old news.
    row.status_at, row.updated_at = shown.changed_at or row.status_at, ctx.now
    return outcome


def _rank(status: str | None) -> int:
    return RANKS.get(status or "", -1)
