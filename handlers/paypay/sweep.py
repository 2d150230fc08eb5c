"""The sweep: every five minutes, whatever PayPay has not decided and is due is asked about again.

It makes one check of each row and does not call PayPay itself. Two sweeps at once take different rows, and a row that
one has taken is not due any more. Source: docs/providers/paypay.md, "The sweep".
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID

from sqlalchemy import select, update

from handlers.paypay.cashback import CHECK
from handlers.paypay.reversal import REVERSAL_CHECK
from handlers.paypay.states import Status
from handlers.paypay.tables import CREATED, EXPIRED, PayPayCashback, PayPayReversal, PayPaySession
from hub.capability import handler
from hub.event import Event
from schemas.paypay_exchange import CashbackCheck, ReversalCheck

if TYPE_CHECKING:
    from hub.deliver.context import Context

BATCH: Final = 100
BATCHES_MAX: Final = 10
"""A thousand rows are what the pace of calls lets through between two sweeps; the rest is the next one's."""
PATIENCE: Final = timedelta(hours=1)
"""How long a look has until another one is asked for, in case it was parked."""
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
    ctx.tag("swept", str(found))
    ctx.tag("sessions_expired", str(await _expire_sessions(ctx)))
    ctx.conclude("swept" if found else "nothing_due")
    return found


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
