"""What time itself brings: buyers who never approve, payments that stay pending, and failures others must hear of.

Every look takes a bounded number; the rest is the next one's. Source: docs/providers/paypal.md.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import false, or_, select

from handlers.paypal.payments import PENDING
from handlers.paypal.settings import PaypalSettings
from handlers.paypal.tables import APPROVAL_PENDING, PaypalPayment, PaypalSubscription
from hub.capability import handler
from hub.event import Event
from schemas.paypal import PaymentCheck, SubscriptionAbandoned

if TYPE_CHECKING:
    from hub.deliver.context import Context

APPROVAL_AWAITED: Final = timedelta(hours=72)
PENDING_AWAITED: Final = timedelta(days=3)
BATCH: Final = 500
ABANDONED_TYPE: Final = "paypal.subscription.abandoned"
CHECK_TYPE: Final = "paypal.payment.check"


@handler
async def abandon_subscriptions(event: Event, ctx: Context) -> int:
    """Give up waiting for buyers who have not approved within three days; answers how many.

    Should one approve after all, PayPal's event brings the subscription back.
    """
    due = (
        select(PaypalSubscription)
        .where(
            PaypalSubscription.status == APPROVAL_PENDING,
            PaypalSubscription.abandoned_at.is_(None),
            PaypalSubscription.created_at <= ctx.now - APPROVAL_AWAITED,
        )
        .order_by(PaypalSubscription.created_at, PaypalSubscription.subscription_id)
        .limit(BATCH)
        # What somebody holds is being decided at this moment.
        .with_for_update(skip_locked=True)
    )
    rows = (await ctx.session.scalars(due)).all()
    for row in rows:
        row.abandoned_at = row.updated_at = ctx.now
        message = SubscriptionAbandoned(
            subscription_id=row.subscription_id, custom_id=row.custom_id, plan_id=row.plan_id
        )
        await ctx.publish(message, routing_key=ABANDONED_TYPE, key=row.custom_id or row.subscription_id)
    ctx.conclude("abandoned" if rows else "nothing_due")
    await ctx.session.flush()
    return len(rows)


@handler
async def sweep_pending(event: Event, ctx: Context) -> int:
    """Have PayPal asked about payments that it has not decided for three days; answers about how many."""
    settings: PaypalSettings = ctx.settings
    askable = [name for name in settings.account_names if settings.account(name).client_id.get_secret_value()]
    due = (
        select(PaypalPayment)
        .where(
            PaypalPayment.state == PENDING,
            PaypalPayment.subscription_id.is_not(None),
            PaypalPayment.created_at <= ctx.now - PENDING_AWAITED,
            # Not picked out afterwards: payments of an account that is gone would take the places of all others.
            or_(false(), *(PaypalPayment.account.is_not_distinct_from(name) for name in askable)),
        )
        # Who was asked about comes last next time: many that stay pending must not hide what is behind them.
        .order_by(PaypalPayment.asked_at.asc().nulls_first(), PaypalPayment.created_at, PaypalPayment.payment_id)
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    )
    rows = (await ctx.session.scalars(due)).all()
    for row in rows:
        row.asked_at = ctx.now
        check = PaymentCheck(
            payment_id=row.payment_id,
            subscription_id=row.subscription_id or "",
            account=row.account,
            since=row.created_at,
        )
        await ctx.emit(CHECK_TYPE, check, key=row.payment_id, dedupe_id=f"{row.payment_id}/{event.id}")
    ctx.conclude("asked" if rows else "nothing_due")
    await ctx.session.flush()
    return len(rows)
