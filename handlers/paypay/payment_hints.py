"""What PayPay tells unasked about payments. Nobody signs it: it says what to look at, and never how it stands.

No hint is dropped: what cannot be looked at now is looked at later, since an end that was told may have no timer any
more. Source: docs/providers/paypay.md, "Notifications".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import func, select

from handlers.paypay.payment_steps import ask
from handlers.paypay.sessions import settings_of
from handlers.paypay.tables_payments import PayPayPayment
from hub.capability import handler
from hub.event import Event

if TYPE_CHECKING:
    from hub.deliver.context import Context

HINT_PAUSE: Final = timedelta(seconds=5)
"""A payment is looked at because of notifications at most this often."""
_ID: Final = re.compile(r"[A-Za-z0-9_.~-]{1,64}")
"""What an id can be: anything else is not even looked for, as no database need take every text."""


@handler
async def hint_payment(event: Event, ctx: Context) -> None:
    """A notification names a payment: look at it, now or in its turn, whatever it says."""
    data = event.data if isinstance(event.data, dict) else {}
    row = await _named(data, ctx)
    if row is None:
        ctx.conclude("unknown")
        return
    ctx.tag("merchant_payment_id", row.merchant_payment_id)
    if row.hinted_at is not None and row.hinted_at > ctx.now:
        ctx.conclude("look_is_coming")
        return
    due = ctx.now if row.hinted_at is None else max(ctx.now, row.hinted_at + HINT_PAUSE)
    due = max(due, ctx.now + await _queue(ctx))
    row.hinted_at = due
    await ask(row, "details", ctx, delay_s=(due - ctx.now).total_seconds(), reason="notified")
    ctx.conclude("look_asked_for")


async def _named(data: Mapping[str, Any], ctx: Context) -> PayPayPayment | None:
    """The payment under our id, or under PayPay's where ours is missing, as it may be on an authorization."""
    for column, name in (
        (PayPayPayment.merchant_payment_id, data.get("merchant_order_id")),
        (PayPayPayment.paypay_payment_id, data.get("order_id")),
    ):
        if isinstance(name, str) and _ID.fullmatch(name):
            found = select(PayPayPayment).where(column == name).order_by(PayPayPayment.id).limit(1)
            row: PayPayPayment | None = await ctx.session.scalar(found.with_for_update())
            if row is not None:
                return row
    return None


async def _queue(ctx: Context) -> timedelta:
    """How long the looks that were asked for before need, at so many a second for all payments together."""
    per_pause = settings_of(ctx).hints_per_s * HINT_PAUSE.total_seconds()
    recent = select(func.count()).where(PayPayPayment.hinted_at > ctx.now - HINT_PAUSE)
    return int((await ctx.session.scalar(recent) or 0) / per_pause) * HINT_PAUSE
