"""Parked deliveries: what the hub could not run, and what a person may do about it.

retry    run it again, as the head of its chain, with all its attempts
discard  give it up; its chain goes on
edit     put another payload in its place, for handlers to see; the inbox keeps what came

Each acts only on what is still parked, in one transaction, and leaves a row in ``operations``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.clock import Clock
from hub.deliver.blocking import Block, block_chains, release_chains
from hub.errors import UsageError
from hub.inbox.rows import UNREADABLE_ROUTE_ID
from hub.operate.acting import record, take_turn
from hub.operate.lookup import LIMIT, Target, bounded, deliveries_of, find_event, find_target, route_names
from hub.operate.reading import TodaysRules, accept_reread, load_event
from hub.ownership.announcing import announce
from hub.ownership.holding import DELIVER
from hub.store import tables as t
from hub.store.store import Store

BEHIND_MAX = 1_000
"""Where more wait behind a parked delivery than this, they are not counted further."""
CORRECTION_BYTES_MAX = 64 * 1024 * 1024

_d, _i = t.deliveries, t.inbox
PARKED = (t.in_state(_d, *t.OFF_CHAIN_STATES), t.in_state(_d, "parked"))
"""Parked deliveries, the first condition spelt as the partial index that holds them."""
RUN_AGAIN_STATES = frozenset({"parked", "refused"})
"""What a replay runs again: nothing was done on the word of what was refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedDelivery:
    """A delivery that waits for a person. ``behind`` counts those that wait for it, up to ``BEHIND_MAX``."""

    delivery_id: int
    event_id: UUID
    source: str
    type: str
    key: str | None
    route: str
    reason: str
    attempts: int
    received_at: datetime
    behind: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A delivery after the action. ``lane`` is for a worker in this process to be told."""

    delivery_id: int
    event_id: UUID
    route: str
    state: str
    lane: int


async def list_parked(
    store: Store, *, source: str | None = None, route: str | None = None, after: int = 0, limit: int = LIMIT
) -> list[ParkedDelivery]:
    """Parked deliveries, oldest first, from behind delivery ``after`` on."""
    query = (
        select(_d, _i.c.source, _i.c.type, _i.c.key, _i.c.received_at)
        .join(_i, _i.c.seq == _d.c.event_seq)
        .where(*PARKED, _d.c.id > after)
        .order_by(_d.c.id)
        .limit(bounded(limit))
    )
    if source is not None:
        query = query.where(_i.c.source == source)
    async with store.reading() as conn:
        names = await route_names(conn)
        if route is not None:
            query = query.where(_d.c.route_id.in_([number for number, name in names.items() if name == route]))
        rows = list(await conn.execute(query))
        return [_parked(row, names[row.route_id], await _behind(conn, row)) for row in rows]


def _parked(row: Row[Any], route: str, behind: int) -> ParkedDelivery:
    return ParkedDelivery(
        delivery_id=row.id,
        event_id=row.event_id,
        source=row.source,
        type=row.type,
        key=row.key,
        route=route,
        reason=row.reason or "",
        attempts=row.attempts,
        received_at=row.received_at,
        behind=behind,
    )


async def _behind(conn: AsyncConnection, row: Row[Any]) -> int:
    behind = t.in_state(_d, *t.BEHIND_STATES) & t.in_state(_d, "waiting")
    waiting = select(_d.c.id).where(_d.c.chain == row.chain, behind).limit(BEHIND_MAX).subquery()
    return await conn.scalar(select(func.count()).select_from(waiting)) or 0


async def retry(
    store: Store, clock: Clock, target: str, *, actor: str, reason: str = "", rules: TodaysRules | None = None
) -> list[Changed]:
    """Run what is parked of an event, or one delivery by its number, again.

    An event that could not be read is read again by ``rules``. Raises UsageError when nothing of it is parked.
    """

    async def work(conn: AsyncConnection) -> list[Changed]:
        await take_turn(conn)
        found = await find_target(conn, target)
        parked = _still_parked(found, await route_names(conn), "retry")
        if any(row.route_id == UNREADABLE_ROUTE_ID for row in parked):
            changed = await _reread(conn, clock, found.event_id, rules, None)
        else:
            changed = await retry_rows(conn, clock, parked)
        await record(conn, clock, actor=actor, action="event.retry", target=found.event_id, reason=reason)
        await announce(conn, DELIVER, [one.lane for one in changed])
        return changed

    return await store.write(work)


async def discard(store: Store, clock: Clock, target: str, *, actor: str, reason: str) -> list[Changed]:
    """Give up what is parked of an event, or one delivery by its number; what waits behind it goes on.

    Raises UsageError when nothing of it is parked, or without a reason.
    """
    _expect_reason(reason)

    async def work(conn: AsyncConnection) -> list[Changed]:
        await take_turn(conn)
        found = await find_target(conn, target)
        parked = _still_parked(found, await route_names(conn), "discard")
        ended = {"state": "discarded", "outcome": "discarded", "finished_at": clock.now(), "next_at": None}
        await _set(conn, parked, ended)
        await conn.execute(delete(t.barriers).where(t.barriers.c.delivery_id.in_([row.id for row in parked])))
        await release_chains(conn, [row.chain for row in parked], now=clock.now())
        await record(conn, clock, actor=actor, action="event.discard", target=found.event_id, reason=reason)
        await announce(conn, DELIVER, [row.lane for row in parked])
        return await _changed(conn, parked, "discarded")

    return await store.write(work)


async def edit(
    store: Store, clock: Clock, event: str, payload: bytes, *, actor: str, reason: str, rules: TodaysRules
) -> list[Changed]:
    """Put ``payload`` in the place of a parked event's own and run it again.

    An event that could not be read gets its type, key and identity now, and is routed. One that could be read keeps
    them: only what its handlers see is another. Raises UsageError when nothing of it is parked, when the payload cannot
    be read, when the identity it claims belongs to another event, or without a reason.
    """
    _expect_reason(reason)
    if len(payload) > CORRECTION_BYTES_MAX:
        raise UsageError(f"a payload of {len(payload)} bytes is larger than {CORRECTION_BYTES_MAX}")

    async def work(conn: AsyncConnection) -> list[Changed]:
        await take_turn(conn)
        event_id = await find_event(conn, event)
        found = Target(event_id, tuple(await deliveries_of(conn, event_id)))
        parked = _still_parked(found, await route_names(conn), "edit")
        if any(row.route_id == UNREADABLE_ROUTE_ID for row in parked):
            changed = await _reread(conn, clock, event_id, rules, payload)
        else:
            rules.refuse_unreadable(await load_event(conn, event_id), payload)
            changed = await retry_rows(conn, clock, parked)
        await _correct(conn, clock, event_id, payload, actor=actor, reason=reason)
        await record(conn, clock, actor=actor, action="event.edit", target=event_id, reason=reason)
        await announce(conn, DELIVER, [one.lane for one in changed])
        return changed

    return await store.write(work)


async def retry_rows(conn: AsyncConnection, clock: Clock, parked: Sequence[Row[Any]]) -> list[Changed]:
    """Put these parked or refused deliveries back at the head of their chains.

    Raises UsageError when somebody else has acted on one meanwhile.
    """
    now = clock.now()
    again = {"state": "retrying", "attempts": 0, "next_at": now, "outcome": None, "finished_at": None}
    await _set(conn, parked, again)
    # What a person has said of its calls was said of how it ended, and it runs again.
    closed = t.calls.c.delivery_id.in_([row.id for row in parked]) & t.calls.c.closed_at.is_not(None)
    await conn.execute(update(t.calls).where(closed).values(closed_at=None))
    # Also where the chain has no row: a delivery with ``on_park: continue`` has left for a chain of its own. What is
    # older and parked in the same chain still goes first: the worker reads the chain from its head.
    await block_chains(conn, [Block(row.chain, row.lane, row.id, "backoff", now) for row in parked])
    return await _changed(conn, parked, "retrying")


async def _reread(
    conn: AsyncConnection, clock: Clock, event_id: UUID, rules: TodaysRules | None, payload: bytes | None
) -> list[Changed]:
    if rules is None:
        raise UsageError(f"event {event_id} could not be read: edit or discard it")
    stored = await load_event(conn, event_id)
    body = payload if payload is not None else stored.corrected if stored.corrected is not None else stored.payload
    await accept_reread(conn, clock, rules.read(stored, body), rules.route_ids)
    made = [row for row in await deliveries_of(conn, event_id) if row.route_id != UNREADABLE_ROUTE_ID]
    return await _changed(conn, made, "ready")


async def _correct(
    conn: AsyncConnection, clock: Clock, event_id: UUID, payload: bytes, *, actor: str, reason: str
) -> None:
    # Two people who edit one event take turns at its deliveries, which only the first finds parked.
    last = await conn.scalar(
        select(func.coalesce(func.max(t.corrections.c.number), 0)).where(t.corrections.c.event_id == event_id)
    )
    row = {
        "event_id": event_id,
        "number": (last or 0) + 1,
        "payload": payload,
        "corrected_by": actor,
        "reason": reason,
        "corrected_at": clock.now(),
    }
    await conn.execute(insert(t.corrections), [row])


def _still_parked(found: Target, names: Any, action: str) -> list[Row[Any]]:
    parked = [row for row in found.rows if row.state == "parked"]
    if not parked:
        states = ", ".join(f"{names.get(row.route_id, row.route_id)} is {row.state}" for row in found.rows)
        raise UsageError(
            f"nothing of event {found.event_id} is parked, so there is nothing to {action}"
            f" ({states or 'no route took it'})"
        )
    return parked


async def _set(conn: AsyncConnection, parked: Sequence[Row[Any]], values: dict[str, Any]) -> None:
    ids = [row.id for row in parked]
    guarded = update(_d).where(_d.c.id.in_(ids), _d.c.state.in_({row.state for row in parked})).values(values)
    if (await conn.execute(guarded)).rowcount != len(ids):
        raise UsageError("somebody else has just acted on this: look again")


async def _changed(conn: AsyncConnection, rows: Sequence[Row[Any]], state: str) -> list[Changed]:
    names = await route_names(conn)
    return [
        Changed(delivery_id=row.id, event_id=row.event_id, route=names[row.route_id], state=state, lane=row.lane)
        for row in rows
    ]


def _expect_reason(reason: str) -> None:
    if not reason.strip():
        raise UsageError("expected a reason, found none: it is kept for those who ask later")
