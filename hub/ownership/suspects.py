"""What a worker may have had in hand when it died: these deliveries are run with care by whoever takes its lanes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.deliver.blocking import calling_chains, release_chains
from hub.deliver.picker import DEFERRED_MAX, PER_CHAIN_MAX
from hub.store import tables as t

CAUTIOUS_PER_LANE = 100
"""At least as many as a batch may take of one lane: what was in hand at a crash is among the first of each lane."""


async def in_hand(conn: AsyncConnection, lanes: Sequence[int], by: datetime) -> dict[int, int]:
    """The deliveries of these lanes that a look at this time could have picked, each with its lane."""
    if not lanes:
        return {}
    return await _first_ready(conn, lanes) | await _first_of_chains(conn, lanes, by) | await _deferred(conn, lanes, by)


async def _first_ready(conn: AsyncConnection, lanes: Sequence[int]) -> dict[int, int]:
    d = t.deliveries
    place = func.row_number().over(partition_by=d.c.lane, order_by=d.c.id).label("place")
    first = select(d.c.id, d.c.lane, d.c.chain, place).where(t.in_state(d, "ready"), d.c.lane.in_(lanes)).subquery()
    is_behind = exists().where(t.blocked.c.chain == first.c.chain)
    rows = await conn.execute(select(first.c.id, first.c.lane).where(first.c.place <= CAUTIOUS_PER_LANE, ~is_behind))
    return {row.id: row.lane for row in rows}


async def _first_of_chains(conn: AsyncConnection, lanes: Sequence[int], by: datetime) -> dict[int, int]:
    """The first deliveries of chains that were due, and those that were talking to a provider."""
    d, b = t.deliveries, t.blocked
    place = func.row_number().over(partition_by=d.c.chain, order_by=d.c.id).label("place")
    due = b.c.state.in_(("backoff", "barrier")) & (b.c.next_at <= by) & b.c.lane.in_(lanes)
    behind = select(d.c.id, d.c.lane, place).join(b, b.c.chain == d.c.chain).where(due, t.in_state(d, *t.BEHIND_STATES))
    first = behind.subquery()
    rows = await conn.execute(select(first.c.id, first.c.lane).where(first.c.place <= PER_CHAIN_MAX))
    calling = await calling_chains(conn, lanes)
    return {row.id: row.lane for row in rows} | {head: lane for _, lane, head in calling}


async def _deferred(conn: AsyncConnection, lanes: Sequence[int], by: datetime) -> dict[int, int]:
    d = t.deliveries
    off_chain = t.in_state(d, *t.OFF_CHAIN_STATES) & t.in_state(d, "deferred")
    due = select(d.c.id, d.c.lane).where(off_chain, d.c.next_at <= by, d.c.lane.in_(lanes))
    rows = await conn.execute(due.order_by(d.c.next_at).limit(DEFERRED_MAX))
    return {row.id: row.lane for row in rows}


async def give_back_calls(conn: AsyncConnection, lanes: Sequence[int], now: datetime) -> None:
    """Deliveries that were talking to a provider are tried again: their record says what must be asked first."""
    chains = [chain for chain, _, _ in await calling_chains(conn, lanes)]
    d = t.deliveries
    mine = t.in_state(d, *t.BEHIND_STATES) & t.in_state(d, "calling") & d.c.lane.in_(lanes)
    await conn.execute(update(d).where(mine).values(state="retrying"))
    await release_chains(conn, chains, now=now)
