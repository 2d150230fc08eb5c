"""Which deliveries may run now: the ready ones of unblocked chains, the heads of chains that are due, the deferred.

Only open rows are in the indexes that are read here, and a ready row of a blocked chain is met once: it is turned into
``waiting`` and read again from its chain's head. Source: docs/decisions/0003-chains-and-lanes.md.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Integer, Select, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.deliver.barriers import Targets, hold_back
from hub.deliver.blocking import Behind, Block, block_chains
from hub.deliver.work import Work, work_of
from hub.event import ROUTE_BITS
from hub.inbox.corrections import latest_correction
from hub.store import tables as t
from hub.store.numbers import number_table
from hub.store.tables import in_state

DUE_CHAINS_MAX = 50
PER_CHAIN_MAX = 50
PER_LANE_MAX = 100
DEFERRED_MAX = 50

_d, _i, _b = t.deliveries, t.inbox, t.blocked
# The index is that of all states off the chain; the narrower condition alone would not find it on SQLite.
_deferred = in_state(_d, *t.OFF_CHAIN_STATES) & in_state(_d, "deferred")


@dataclass(slots=True)
class Picked:
    """What one batch may run, in order of acceptance. ``drained`` are due chains that were read from their heads."""

    works: list[Work] = field(default_factory=list)
    drained: set[int] = field(default_factory=set)
    turned: int = 0

    @property
    def is_worth_another_look(self) -> bool:
        """Something was put in order, so that the next look may find what this one could not."""
        return bool(self.turned or (self.drained and not self.works))


async def pick(
    conn: AsyncConnection,
    lanes: Sequence[int],
    *,
    limit: int,
    now: datetime,
    leave: Collection[int] = (),
    targets: Targets = lambda _: (),
) -> Picked:
    """Read up to ``limit`` deliveries of these lanes. Marks what must wait; the caller's transaction commits it.

    Deliveries of the routes to ``leave`` are not read: many of them must not hide what stands behind them. ``targets``
    says where a route's messages go.
    """
    picked = Picked()
    works: list[Work] = []
    due = await _due_chains(conn, lanes, now, leave)
    for chain in due:
        heads, obstacle = await _heads(conn, chain)
        if obstacle is not None and not heads:
            await block_chains(conn, [obstacle])
            continue
        picked.drained.add(chain)
        works += heads
    works += await _due_deferred(conn, lanes, now, leave)
    ready, behind = await _ready(conn, lanes, limit, picked.drained, leave)
    picked.turned = len(behind)
    await block_chains(conn, [], behind=behind)
    works += ready
    works.sort(key=lambda work: work.id)
    picked.works = await hold_back(conn, works[:limit], picked.drained, now=now, targets=targets)
    return picked


async def lanes_with_work(conn: AsyncConnection, lanes: Sequence[int], now: datetime) -> set[int]:
    """A slow look over everything that could run: the sweep behind the signals."""
    found: set[int] = set()
    for query in (
        select(_d.c.lane).where(in_state(_d, "ready")).distinct(),
        select(_b.c.lane).where(_b.c.next_at <= now).distinct(),
        select(_d.c.lane).where(_deferred, _d.c.next_at <= now).distinct(),
    ):
        found |= {row[0] for row in await conn.execute(query)}
    return found & set(lanes)


def with_event(*more: Any) -> Select[Any]:
    """Deliveries with their events, and the latest correction of the payload where a person made one."""
    corrected = latest_correction(_d.c.event_id)
    columns = [column for column in _i.c if column.name not in ("id", "problem", "matches")]
    return select(_d, *columns, corrected.label("corrected"), *more).join(_i, _i.c.seq == _d.c.event_seq)


async def _due_chains(conn: AsyncConnection, lanes: Sequence[int], now: datetime, leave: Collection[int]) -> list[int]:
    query = (
        select(_b.c.chain)
        .where(_b.c.lane.in_(lanes), _b.c.next_at <= now, _b.c.state.in_(("backoff", "barrier")))
        .order_by(_b.c.next_at)
        .limit(DUE_CHAINS_MAX)
    )
    if leave:
        # A chain belongs to one route, whose number is in the number of any of its deliveries.
        query = query.where(_b.c.head.op("&")(2**ROUTE_BITS - 1).not_in(leave))
    return [row[0] for row in await conn.execute(query)]


async def _heads(conn: AsyncConnection, chain: int) -> tuple[list[Work], Block | None]:
    """The rows of a due chain from its head on, up to the first that is parked or calling: that one blocks the rest."""
    query = (
        with_event().where(_d.c.chain == chain, in_state(_d, *t.BEHIND_STATES)).order_by(_d.c.id).limit(PER_CHAIN_MAX)
    )
    heads: list[Work] = []
    for row in await conn.execute(query):
        if row.state in ("parked", "calling"):
            return heads, Block(chain, row.lane, row.id, row.state, None)
        heads.append(work_of(row))
    return heads, None


async def _due_deferred(
    conn: AsyncConnection, lanes: Sequence[int], now: datetime, leave: Collection[int]
) -> list[Work]:
    query = (
        with_event()
        .where(_deferred, _d.c.next_at <= now, _d.c.lane.in_(lanes))
        .order_by(_d.c.next_at)
        .limit(DEFERRED_MAX)
    )
    if leave:
        query = query.where(_d.c.route_id.not_in(leave))
    return [work_of(row) for row in await conn.execute(query)]


async def _ready(
    conn: AsyncConnection, lanes: Sequence[int], limit: int, drained: set[int], leave: Collection[int]
) -> tuple[list[Work], list[Behind]]:
    """Ready rows lane by lane (one ordered index scan each), split into those that may run and those that must wait."""
    per_lane = max(1, min(PER_LANE_MAX, limit))
    wanted = number_table(conn, lanes, Integer, name="wanted")
    lane = wanted.c[0]
    # In a name of its own: the same table stands in the outer statement too.
    own = _d.alias("own")
    inner = (
        select(own.c.id)
        .where(own.c.lane == lane, in_state(own, "ready"))
        .order_by(own.c.id)
        .limit(per_lane)
        .correlate_except(own)
    )
    if leave:
        inner = inner.where(own.c.route_id.not_in(leave))
    query = with_event(_b.c.chain.is_not(None).label("is_blocked")).outerjoin(_b, _b.c.chain == _d.c.chain)
    if conn.dialect.name == "postgresql":
        first = inner.lateral("first")
        query = query.join(wanted, true()).join(first, first.c.id == _d.c.id)
    else:
        query = query.join(wanted, _d.c.id.in_(inner))
    rows = await conn.execute(query.where(in_state(_d, "ready")).order_by(_d.c.id).limit(limit))
    ready: list[Work] = []
    behind: list[Behind] = []
    for row in rows:
        if row.is_blocked or row.chain in drained:
            behind.append(Behind(row.id, row.chain))
        else:
            ready.append(work_of(row))
    return ready, behind
