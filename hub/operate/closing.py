"""Calls that were left without an outcome and that nobody will ask about again: closed once somebody answers for them.

Where the delivery is done and its handler was told *pending* or *unknown*, the handler has answered: it arranged what
follows. Of what is left, a person says what they have found out. The row's state stays what the provider last said.
Source: docs/decisions/0007-unknown-outcomes.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.clock import Clock
from hub.errors import UsageError
from hub.operate.acting import record
from hub.operate.lookup import find_target
from hub.operate.undecided import IS_UNCLOSED, IS_UNDECIDED, UNDECIDED
from hub.store import tables as t
from hub.store.store import Store

CLOSED_TOGETHER: Final = 500
ROUNDS_MAX: Final = 20
"""What is left after so many is closed the next time: on the first day there may be a history of them."""

_c, _d = t.calls, t.deliveries
_NAME = (_c.c.delivery_id, _c.c.step, _c.c.number)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedCall:
    """A call that a person has just answered for."""

    delivery_id: int
    event_id: UUID
    step: str
    number: int
    provider: str
    state: str


async def close_answered(store: Store, clock: Clock) -> int:
    """Close the calls whose handlers have answered for them, most of them at once; answers how many it has closed.

    Any number of processes may do it at once: a row that one has in hand, the others leave out.
    """
    closed = 0
    for _ in range(ROUNDS_MAX):
        some = await _close_some(store, clock.now())
        closed += some
        if some < CLOSED_TOGETHER:
            break
    return closed


async def _close_some(store: Store, now: datetime) -> int:
    answered = (
        select(*_NAME)
        .select_from(UNDECIDED)
        .where(IS_UNCLOSED, t.in_state(_c, "pending", "unknown"), t.in_state(_d, "done"))
        .limit(CLOSED_TOGETHER)
    )
    async with store.reading() as conn:
        if (await conn.execute(answered.limit(1))).first() is None:
            return 0

    async def work(conn: AsyncConnection) -> int:
        names = [tuple(row) for row in await conn.execute(answered.with_for_update(of=_c, skip_locked=True))]
        if names:
            await conn.execute(update(_c).where(tuple_(*_NAME).in_(names)).values(closed_at=now))
        return len(names)

    return await store.write(work)


async def close_calls(store: Store, clock: Clock, target: str, *, actor: str, reason: str) -> Sequence[ClosedCall]:
    """Close what nobody has answered for, of an event or of one delivery by its number. Nothing is run or sent.

    Raises UsageError without a reason, where there is nothing to close, and where a delivery is not over: then its
    provider is asked, and a retry or a discard decides.
    """
    if not reason.strip():
        raise UsageError("expected a reason that says what became of it, found none")

    async def work(conn: AsyncConnection) -> Sequence[ClosedCall]:
        found = await find_target(conn, target)
        over = {row.id for row in found.rows if row.state not in t.OPEN_STATES}
        ids = [row.id for row in found.rows]
        query = select(_c).select_from(UNDECIDED).where(IS_UNDECIDED, _c.c.delivery_id.in_(ids)).order_by(*_NAME)
        rows = list(await conn.execute(query.with_for_update(of=_c)))
        closable = [row for row in rows if row.delivery_id in over]
        if not closable:
            raise UsageError(
                f"a delivery of event {found.event_id} goes on and asks the provider itself: retry or discard it where"
                " it is parked, else wait"
                if rows
                else f"every call of event {found.event_id} has an outcome, or somebody has answered for it"
            )
        names = [(row.delivery_id, row.step, row.number) for row in closable]
        await conn.execute(update(_c).where(tuple_(*_NAME).in_(names)).values(closed_at=clock.now()))
        await record(conn, clock, actor=actor, action="call.close", target=found.event_id, reason=reason)
        return [
            ClosedCall(
                delivery_id=row.delivery_id,
                event_id=found.event_id,
                step=row.step,
                number=row.number,
                provider=row.provider,
                state=row.state,
            )
            for row in closable
        ]

    return await store.write(work)
