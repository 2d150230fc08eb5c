"""The sweep: every five minutes, whatever PayPay has not decided and is due is asked about again.

It makes one check of each row and does not call PayPay itself. Two sweeps at once take different rows, and a row that
one has taken is not due any more. Payments and refunds have timers of their own; the sweep finds those whose timer was
lost. Source: docs/providers/paypay.md, "The sweep".
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

from sqlalchemy import or_, select, update

from handlers.paypay.cashback import CHECK
from handlers.paypay.payment_steps import ask
from handlers.paypay.payment_words import PaymentStatus
from handlers.paypay.reversal import REVERSAL_CHECK
from handlers.paypay.states import Status
from handlers.paypay.tables import CREATED, EXPIRED, PayPayCashback, PayPayReversal, PayPaySession
from handlers.paypay.tables_payments import PENDING, UNKNOWN, PayPayPayment, PayPayRefund
from hub.capability import handler
from hub.event import Event
from schemas.paypay_exchange import CashbackCheck, ReversalCheck

if TYPE_CHECKING:
    from hub.deliver.context import Context

BATCH: Final = 100
BATCHES_MAX: Final = 10
"""A thousand rows are what the pace of calls lets through between two sweeps; the rest is the next one's."""
PATIENCE: Final = timedelta(hours=1)
"""How long a look has until another one is asked for, in case it was parked, or its timer was lost."""
DAY: Final = timedelta(days=1)
LOOKED_AT: Final = frozenset(
    {
        PaymentStatus.UNKNOWN,
        PaymentStatus.CREATED,
        PaymentStatus.AUTHORIZED,
        PaymentStatus.CANCELING,
        PaymentStatus.CANCEL_ACCEPTED,
        PaymentStatus.REFUND_NEEDED,
    }
)
"""Where only a look, or what it leads to, takes a payment further. A NEW one is sent by its own delivery."""
SESSION_GRACE: Final = timedelta(hours=1)
"""How long after its end a session that nobody has decided is kept open: a notification of it may come late."""


@handler
async def sweep(event: Event, ctx: Context) -> int:
    """Make a check for every undecided cashback and reversal that is due; answers how many. Old sessions expire."""
    # A row is asked about once per instant, also where two schedules or a person ask for one at the same time.
    found = 0
    for request_id in await _due(PayPayCashback, ctx):
        await ctx.emit(CHECK, CashbackCheck(request_id=request_id), key=str(request_id))
        found += 1
    for reversal_id in await _due(PayPayReversal, ctx):
        await ctx.emit(REVERSAL_CHECK, ReversalCheck(reversal_id=reversal_id), key=str(reversal_id))
        found += 1
    found += await _look_at_payments(ctx) + await _look_at_refunds(ctx)
    ctx.tag("swept", str(found))
    ctx.tag("sessions_expired", str(await _expire_sessions(ctx)))
    ctx.conclude("swept" if found else "nothing_due")
    return found


async def _look_at_payments(ctx: Context) -> int:
    """Payments whose look should have been taken long ago, or that are undecided and have none to come."""
    table = PayPayPayment
    long_ago = ctx.now - PATIENCE
    has_lost_timer = or_(table.next_look_at < long_ago, table.next_look_at.is_(None) & (table.updated_at < long_ago))
    is_unbooked = (table.status == PaymentStatus.COMPLETED) & table.booked_as.is_(None)
    due = (
        select(table)
        # Of the many that are completed only those of late are looked through.
        .where(or_(table.status.in_(tuple(LOOKED_AT)), is_unbooked & (table.updated_at > ctx.now - DAY)))
        .where(has_lost_timer)
        .order_by(table.updated_at, table.id)
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    )
    rows = (await ctx.session.scalars(due)).all()
    for row in rows:
        await ask(row, "details", ctx, reason="timer")
    return len(rows)


async def _look_at_refunds(ctx: Context) -> int:
    """Refunds that PayPay has not decided, of payments to which nothing has happened for long."""
    table = PayPayPayment
    due = (
        select(table, PayPayRefund.id)
        .join(PayPayRefund, PayPayRefund.payment_id == table.id)
        .where(table.status.in_((PaymentStatus.REFUND_ACCEPTED, PaymentStatus.REFUND_UNKNOWN)))
        .where(PayPayRefund.status.in_((PENDING, UNKNOWN)), table.updated_at < ctx.now - PATIENCE)
        .order_by(table.updated_at, table.id)
        .limit(BATCH)
        .with_for_update(of=table, skip_locked=True)
    )
    found = (await ctx.session.execute(due)).all()
    for row, part_id in found:
        await ask(row, "refund_details", ctx, part=part_id)
        row.updated_at = ctx.now
    return len(found)


async def _expire_sessions(ctx: Context) -> int:
    """Sessions whose member never came back from PayPay's page; answers how many."""
    old = (
        select(PayPaySession.id)
        .where(PayPaySession.status == CREATED, PayPaySession.expires_at < ctx.now - SESSION_GRACE)
        .order_by(PayPaySession.id)
        .limit(BATCH * BATCHES_MAX)
        .with_for_update(skip_locked=True)
    )
    ids = list((await ctx.session.scalars(old)).all())
    if ids:
        await ctx.session.execute(
            update(PayPaySession)
            .where(PayPaySession.id.in_(ids))
            .values(status=EXPIRED, updated_at=ctx.now)
            .execution_options(synchronize_session=False)
        )
    return len(ids)


async def _due(table: type[PayPayCashback | PayPayReversal], ctx: Context) -> list[UUID]:
    taken: list[UUID] = []
    for _ in range(BATCHES_MAX):
        some = await _take(table, ctx.now, ctx)
        taken += some
        if len(some) < BATCH:
            break
    return taken


async def _take(table: type[PayPayCashback | PayPayReversal], now: datetime, ctx: Context) -> list[UUID]:
    due = (
        select(table.id)
        # Whatever has such a time: what a person has settled too, until PayPay says the same.
        .where(table.status.in_(tuple(Status)), table.next_check_at <= now)
        .order_by(table.next_check_at, table.id)
        .limit(BATCH)
        # What somebody holds is being decided at this moment.
        .with_for_update(skip_locked=True)
    )
    ids = list((await ctx.session.scalars(due)).all())
    if ids:
        await ctx.session.execute(
            update(table)
            .where(table.id.in_(ids))
            # The look says when the next one is due. Until it could be taken no sweep adds another one: a PayPay that
            # stood still would be asked as often as there were sweeps meanwhile.
            .values(next_check_at=now + PATIENCE)
            .execution_options(synchronize_session=False)
        )
    return ids
