"""What a worker may have had in hand when it died: these deliveries are run with care by whoever takes its lanes.

Which routes it passed over, because they were paused or their provider was full, nobody knows any more. So the first of
every route are suspects: those of one must not hide what ran behind them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    FromClause,
    Integer,
    Label,
    Select,
    Subquery,
    TableValuedAlias,
    exists,
    func,
    select,
    true,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.deliver.blocking import calling_chains, release_chains
from hub.deliver.picker import DEFERRED_MAX, DUE_CHAINS_MAX, PER_CHAIN_MAX
from hub.event import ROUTE_BITS
from hub.store import tables as t
from hub.store.numbers import as_numbers, number_table

CAUTIOUS_PER_LANE = 500
"""Of each route: as many as a batch takes of one lane, unless HUB_BATCH_SIZE says more."""
CAUTIOUS_MAX = 100_000
"""In all, of each kind. Of a longer backlog fewer of each lane and route, as a batch takes fewer of each then."""
CAUTIOUS_CHAINS_MAX = 10_000
LOOKED_AT_PER_LANE = 4_000
"""Ready rows: a million of all lanes, which takes PostgreSQL about six seconds on two busy cores."""


async def in_hand(conn: AsyncConnection, lanes: Sequence[int], by: datetime) -> dict[int, int]:
    """The deliveries of these lanes that a look at this time could have picked, each with its lane."""
    if not lanes:
        return {}
    return await _first_ready(conn, lanes) | await _first_of_chains(conn, lanes, by) | await _deferred(conn, lanes, by)


async def _first_ready(conn: AsyncConnection, lanes: Sequence[int]) -> dict[int, int]:
    dialect = conn.dialect.name
    rows = await conn.execute(_ready(dialect, CAUTIOUS_PER_LANE), {"lanes": as_numbers(dialect, lanes)})
    return {row.id: row.lane for row in rows}


@cache
def _ready(dialect: str, each: int) -> Select[Any]:
    wanted, own = number_table(dialect, "lanes", Integer()), t.deliveries.alias("own")
    of_lane = select(*_columns(own)).where(own.c.lane == wanted.c[0], t.in_state(own, "ready"))
    rows = _of_each(dialect, wanted, own, of_lane.order_by(own.c.id).limit(LOOKED_AT_PER_LANE))
    # A look passes over those behind the head of a blocked chain.
    is_behind = exists().where(t.blocked.c.chain == rows.c.chain)
    placed = select(rows.c.id, rows.c.lane, _place(rows.c.lane, rows.c.route_id, by=rows.c.id)).where(~is_behind)
    return _foremost(placed.subquery(), each, CAUTIOUS_MAX)


async def _first_of_chains(conn: AsyncConnection, lanes: Sequence[int], by: datetime) -> dict[int, int]:
    """The first deliveries of chains that were due, and those that were talking to a provider."""
    b = t.blocked
    # A chain belongs to one route, whose number is in the number of any of its deliveries.
    route: ColumnElement[int] = b.c.head.op("&")(2**ROUTE_BITS - 1)
    waiting = select(b.c.chain.label("id"), b.c.lane, _place(b.c.lane, route, by=b.c.next_at))
    due = waiting.where(b.c.state.in_(("backoff", "barrier")), b.c.next_at <= by, b.c.lane.in_(lanes)).subquery()
    chains = (await conn.scalars(_foremost(due, DUE_CHAINS_MAX, CAUTIOUS_CHAINS_MAX))).all()
    found: dict[int, int] = {}
    if chains:
        dialect = conn.dialect.name
        rows = await conn.execute(_heads(dialect), {"chains": as_numbers(dialect, chains)})
        found = {row.id: row.lane for row in rows}
    return found | {head: lane for _, lane, head in await calling_chains(conn, lanes)}


@cache
def _heads(dialect: str) -> Select[Any]:
    """The first deliveries of these chains: one look into the index for each, however much waits there."""
    wanted, own = number_table(dialect, "chains", BigInteger()), t.deliveries.alias("own")
    behind = select(*_columns(own)).where(own.c.chain == wanted.c[0], t.in_state(own, *t.BEHIND_STATES))
    heads = _of_each(dialect, wanted, own, behind.order_by(own.c.id).limit(PER_CHAIN_MAX))
    return select(heads.c.id, heads.c.lane).limit(CAUTIOUS_MAX)


def _columns(own: FromClause) -> list[ColumnElement[Any]]:
    return [own.c[name] for name in ("id", "lane", "route_id", "chain")]


def _of_each(dialect: str, wanted: TableValuedAlias, own: FromClause, first: Select[Any]) -> Subquery:
    """The rows of ``own`` that ``first`` finds for each of ``wanted``."""
    if dialect == "postgresql":
        rows = first.correlate(wanted).lateral("first")
        return select(*rows.c).select_from(wanted.join(rows, true())).subquery("found")
    d, ids = t.deliveries, first.with_only_columns(own.c.id).correlate(wanted)
    return select(*_columns(d)).select_from(wanted.join(d, d.c.id.in_(ids))).subquery("found")


async def _deferred(conn: AsyncConnection, lanes: Sequence[int], by: datetime) -> dict[int, int]:
    d = t.deliveries
    off_chain = t.in_state(d, *t.OFF_CHAIN_STATES) & t.in_state(d, "deferred")
    waiting = select(d.c.id, d.c.lane, _place(d.c.lane, d.c.route_id, by=d.c.next_at))
    due = waiting.where(off_chain, d.c.next_at <= by, d.c.lane.in_(lanes)).subquery()
    rows = await conn.execute(_foremost(due, DEFERRED_MAX, CAUTIOUS_MAX))
    return {row.id: row.lane for row in rows}


def _place(lane: ColumnElement[int], route: ColumnElement[int], *, by: ColumnElement[Any]) -> Label[int]:
    return func.row_number().over(partition_by=(lane, route), order_by=by).label("place")


def _foremost(placed: Subquery, each: int, most: int) -> Select[Any]:
    """Of each lane and route the first, and in all the first of those."""
    first = select(placed.c.id, placed.c.lane).where(placed.c.place <= each)
    return first.order_by(placed.c.place, placed.c.id).limit(most)


async def give_back_calls(conn: AsyncConnection, lanes: Sequence[int], now: datetime) -> None:
    """Deliveries that were talking to a provider are tried again: their record says what must be asked first."""
    chains = [chain for chain, _, _ in await calling_chains(conn, lanes)]
    d = t.deliveries
    mine = t.in_state(d, *t.BEHIND_STATES) & t.in_state(d, "calling") & d.c.lane.in_(lanes)
    await conn.execute(update(d).where(mine).values(state="retrying"))
    await release_chains(conn, chains, now=now)
