"""Which deliveries may run now: the ready ones of unblocked chains, the heads of chains that are due, the deferred.

Only open rows are in the indexes that are read here, and a ready row of a blocked chain is met once: it is turned into
``waiting`` and read again from its chain's head. The statements are built once for each database, and take lists as one
parameter: nothing is compiled for a batch. Source: docs/decisions/0003-chains-and-lanes.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    FromClause,
    Integer,
    Row,
    Select,
    bindparam,
    exists,
    literal_column,
    select,
    true,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.deliver.barriers import Targets, hold_back
from hub.deliver.blocking import Behind, Block, Waits
from hub.deliver.work import Work, event_of, work_of
from hub.event import ROUTE_BITS, Event
from hub.inbox.corrections import latest_correction
from hub.recent import Recent
from hub.store import tables as t
from hub.store.numbers import among, as_numbers, number_table
from hub.store.tables import in_state
from hub.store.types import UtcTime

DUE_CHAINS_MAX = 50
PER_CHAIN_MAX = 50
PER_LANE_MIN = 8
DEFERRED_MAX = 50

_d, _i, _b = t.deliveries, t.inbox, t.blocked
_NOW = bindparam("now", type_=UtcTime)


@dataclass(slots=True)
class Picked:
    """What one batch may run, in order of acceptance. ``drained`` are due chains that were read from their heads."""

    works: list[Work] = field(default_factory=list)
    drained: set[int] = field(default_factory=set)
    waits: Waits = field(default_factory=Waits)
    turned: int = 0

    @property
    def is_worth_another_look(self) -> bool:
        """Something was put in order, so that the next look may find what this one could not."""
        return bool(self.turned or (self.drained and not self.works))


@dataclass(frozen=True, slots=True)
class _Look:
    """One look into these lanes, but not at the deliveries of the routes to ``leave``."""

    conn: AsyncConnection
    lanes: Sequence[int]
    leave: Collection[int]
    now: datetime
    recent: Recent[Event]

    @property
    def dialect(self) -> str:
        return self.conn.dialect.name

    @property
    def bounds(self) -> dict[str, object]:
        """The parameters that its statements share."""
        bounds = {"lanes": as_numbers(self.dialect, self.lanes)}
        return bounds | {"leave": as_numbers(self.dialect, self.leave)} if self.leave else bounds


async def pick(
    conn: AsyncConnection,
    lanes: Sequence[int],
    *,
    limit: int,
    now: datetime,
    leave: Collection[int] = (),
    targets: Targets = lambda _: (),
    recent: Recent[Event] | None = None,
) -> Picked:
    """Read up to ``limit`` deliveries of these lanes. What must wait is told in ``waits``; nothing is written.

    Deliveries of the routes to ``leave`` are not read: many of them must not hide what stands behind them. ``targets``
    says where a route's messages go; ``recent`` may have their events at hand.
    """
    look, picked = _Look(conn, lanes, leave, now, recent if recent is not None else Recent(bytes_max=0)), Picked()
    works = await _due(look, picked)
    is_any_due = bool(works)
    ready, has_barriers = await _ready(look, limit, picked)
    works = _in_equal_parts(works, ready, limit)
    if has_barriers or is_any_due:
        works = await hold_back(conn, works, picked.drained, picked.waits, now=now, targets=targets)
    picked.works = works
    return picked


def _in_equal_parts(due: Sequence[Work], new: Sequence[Work], limit: int) -> list[Work]:
    """Half of a batch for those that are tried again and half for new ones, as far as there are.

    Neither crowds out the other. In order of acceptance, so that of each chain the first ones remain.
    """
    in_order = sorted([*due, *new], key=lambda work: work.id)
    if len(in_order) <= limit or limit < 2:
        return in_order[:limit]
    of_due = min(len(due), max(limit // 2, limit - len(new)))
    chosen = sorted(due, key=lambda work: work.id)[:of_due] + list(new[: limit - of_due])
    return sorted(chosen, key=lambda work: work.id)


async def lanes_with_work(conn: AsyncConnection, lanes: Sequence[int], now: datetime) -> set[int]:
    """Which of these lanes have something that could run: the sweep behind the signals.

    One look into the index for each lane, however long its backlog is.
    """
    bounds = {"lanes": as_numbers(conn.dialect.name, lanes), "now": now}
    found: set[int] = set()
    for query in (_ready_lanes(conn.dialect.name), _due_lanes(conn.dialect.name), _DEFERRED_LANES):
        found |= {row[0] for row in await conn.execute(query, bounds)}
    return found & set(lanes)


@cache
def _ready_lanes(dialect: str) -> Select[int]:
    wanted, own = number_table(dialect, "lanes", Integer()), _d.alias("own")
    # The next lane that has any: only the index of the ready has this order, so that no estimate leads elsewhere.
    following = (
        select(own.c.lane)
        .where(in_state(own, "ready"), own.c.lane >= wanted.c[0])
        .order_by(own.c.lane, own.c.id)
        .limit(1)
        .correlate(wanted)
    )
    return select(wanted.c[0]).where(following.scalar_subquery() == wanted.c[0])


@cache
def _due_lanes(dialect: str) -> Select[int]:
    wanted = number_table(dialect, "lanes", Integer())
    earliest = (
        select(_b.c.next_at)
        .where(_b.c.lane == wanted.c[0], _b.c.next_at <= _NOW)
        .order_by(_b.c.next_at)
        .limit(1)
        .correlate(wanted)
    )
    return select(wanted.c[0]).where(earliest.scalar_subquery().is_not(None))


async def _due(look: _Look, picked: Picked) -> list[Work]:
    """What waited for its time: the heads of due chains, which count as ``drained`` then, and the deferred."""
    any_due = _any_due(look.dialect)
    has_chains, has_deferred = (await look.conn.execute(any_due, look.bounds | {"now": look.now})).one()
    works: list[Work] = []
    if has_chains:
        works += await _due_heads(look, picked)
    if has_deferred:
        deferred = _due_deferred(look.dialect, is_leaving=bool(look.leave))
        rows = await look.conn.execute(deferred, look.bounds | {"now": look.now})
        works += [work_of(row, event_of(row)) for row in rows]
    return works


@cache
def _any_due(dialect: str) -> Select[bool, bool]:
    """Nearly always neither: one statement then spares two."""
    chain = select(_b.c.chain).where(among(dialect, _b.c.lane, "lanes"), _b.c.next_at <= _NOW)
    return select(exists(chain), exists(select(_d.c.id).where(_deferred, _d.c.next_at <= _NOW)))


async def _due_heads(look: _Look, picked: Picked) -> list[Work]:
    due = _due_chains(look.dialect, is_leaving=bool(look.leave))
    works: list[Work] = []
    for chain in (await look.conn.scalars(due, look.bounds | {"now": look.now})).all():
        heads, obstacle = await _heads(look.conn, chain)
        if obstacle is not None and not heads:
            picked.waits.blocks.append(obstacle)
            continue
        picked.drained.add(chain)
        works += heads
    return works


@cache
def _due_chains(dialect: str, *, is_leaving: bool) -> Select[int]:
    query = (
        select(_b.c.chain)
        .where(among(dialect, _b.c.lane, "lanes"), _b.c.next_at <= _NOW, _b.c.state.in_(("backoff", "barrier")))
        .order_by(_b.c.next_at)
        .limit(DUE_CHAINS_MAX)
    )
    # A chain belongs to one route, whose number is in the number of any of its deliveries.
    route: ColumnElement[int] = _b.c.head.op("&")(2**ROUTE_BITS - 1)
    return query.where(~among(dialect, route, "leave")) if is_leaving else query


async def _heads(conn: AsyncConnection, chain: int) -> tuple[list[Work], Block | None]:
    """The rows of a due chain from its head on, up to the first that is parked or calling: that one blocks the rest."""
    heads: list[Work] = []
    for row in await conn.execute(_FIRST_OF_CHAIN, {"of_chain": chain}):
        if row.state in ("parked", "calling"):
            return heads, Block(chain, row.lane, row.id, row.state, None)
        heads.append(work_of(row, event_of(row)))
    return heads, None


@cache
def _due_deferred(dialect: str, *, is_leaving: bool) -> Select[Any]:
    query = (
        _WORK.where(_deferred, _d.c.next_at <= _NOW, among(dialect, _d.c.lane, "lanes"))
        .order_by(_d.c.next_at)
        .limit(DEFERRED_MAX)
    )
    return query.where(~among(dialect, _d.c.route_id, "leave")) if is_leaving else query


async def _ready(look: _Look, limit: int, picked: Picked) -> tuple[list[Work], bool]:
    """Ready rows that may run, and whether there are any barriers; those of blocked chains are to wait."""
    rows = await _ready_rows(look, limit)
    ready: list[Row[Any]] = []
    behind: list[Behind] = []
    for row in rows:
        if row.is_blocked or row.chain in picked.drained:
            behind.append(Behind(row.id, row.chain))
        else:
            ready.append(row)
    picked.turned = len(behind)
    picked.waits.behind += behind
    return await _with_events(look, ready), bool(rows and rows[0].has_barriers)


async def _with_events(look: _Look, rows: Sequence[Row[Any]]) -> list[Work]:
    """These deliveries with their events: those at hand, the others read."""
    events: dict[int, Event] = {}
    for row in rows:
        # A person's correction stands in for the payload that came.
        event = look.recent.take(row.event_seq) if row.corrected is None else None
        if event is not None:
            events[row.event_seq] = event
    missing = {row.event_seq for row in rows} - events.keys()
    if missing:
        seqs = {"seqs": as_numbers(look.dialect, missing)}
        events |= {row.seq: event_of(row) for row in await look.conn.execute(_events(look.dialect), seqs)}
    return [work_of(row, events[row.event_seq]) for row in rows]


@cache
def _events(dialect: str) -> Select[Any]:
    event_id = _i.c.id.label("event_id")
    columns = (event_id, *(_i.c[name] for name in _EVENT), latest_correction(_i.c.id).label("corrected"))
    return select(*columns).where(among(dialect, _i.c.seq, "seqs"))


async def _ready_rows(look: _Look, limit: int) -> Sequence[Row[Any]]:
    """The first ``limit`` ready rows, of which the many lanes of a backlog give a few each."""
    first = _first_ready(look.dialect, is_leaving=bool(look.leave))
    few = max(1, min(limit, max(PER_LANE_MIN, 4 * limit // max(1, len(look.lanes)))))
    rows: Sequence[Row[Any]]
    rows = (await look.conn.execute(first, look.bounds | {"most": limit, "per_lane": few})).all()
    if len(rows) < limit and few in Counter(row.lane for row in rows).values():
        # Little lies in the other lanes, and one has more: a single busy key must not make small batches.
        rows = (await look.conn.execute(first, look.bounds | {"most": limit, "per_lane": limit})).all()
    return rows


@cache
def _first_ready(dialect: str, *, is_leaving: bool) -> Select[Any]:
    """Ready rows lane by lane, one ordered look into the index each, then the first of them all."""
    wanted = number_table(dialect, "lanes", Integer())
    own = _d.alias("own")
    of_lane = (
        select(own.c.id)
        .where(own.c.lane == wanted.c[0], in_state(own, "ready"))
        .order_by(own.c.id)
        .limit(bindparam("per_lane", type_=BigInteger))
        .correlate(wanted)
    )
    if is_leaving:
        of_lane = of_lane.where(~among(dialect, own.c.route_id, "leave"))
    if dialect == "postgresql":
        first = of_lane.lateral("first")
        heads = select(first.c.id).select_from(wanted.join(first, true()))
    else:
        heads = select(_d.c.id).select_from(wanted.join(_d, _d.c.id.in_(of_lane)))
    # Bounded before anything is joined: behind a backlog most of these rows are left for later.
    bounded = heads.order_by("id").limit(bindparam("most", type_=BigInteger)).subquery("heads")
    if dialect == "postgresql":
        # Each of these rows is looked up by its key (OFFSET keeps the planner from making a join of it): before the
        # first ANALYZE, and after one in a quiet hour, it would rather read a whole table once.
        d: FromClause = select(_d).where(_d.c.id == bounded.c.id).offset(literal_column("0")).lateral("d")
        joined = bounded.join(d, true())
    else:
        d = _d
        joined = bounded.join(d, d.c.id == bounded.c.id)
    is_blocked = select(_b.c.chain).where(_b.c.chain == d.c.chain).correlate(d).scalar_subquery().is_not(None)
    has_barriers = exists(select(t.barriers.c.chain))
    flags = (is_blocked.label("is_blocked"), has_barriers.label("has_barriers"))
    return select(*_with_correction(d), *flags).select_from(joined).order_by(d.c.id)


def _with_correction(d: FromClause) -> list[ColumnElement[Any]]:
    """A delivery, and the payload that a person may have put in the place of its event's."""
    return [*(d.c[name] for name in _DELIVERY), latest_correction(d.c.event_id).label("corrected")]


_DELIVERY = ("id", "event_id", "event_seq", "route_id", "lane", "chain", "barrier", "unsure", "state", "attempts")
_EVENT = tuple(column.name for column in _i.c if column.name not in ("id", "problem", "matches", "cause"))
_WORK = select(*_with_correction(_d), *(_i.c[name] for name in _EVENT)).join(_i, _i.c.seq == _d.c.event_seq)
# The index is that of all states off the chain; the narrower condition alone would not find it on SQLite.
_deferred = in_state(_d, *t.OFF_CHAIN_STATES) & in_state(_d, "deferred")
_DEFERRED_LANES = select(_d.c.lane).where(_deferred, _d.c.next_at <= _NOW).distinct()
_FIRST_OF_CHAIN = (
    _WORK.where(_d.c.chain == bindparam("of_chain"), in_state(_d, *t.BEHIND_STATES))
    .order_by(_d.c.id)
    .limit(PER_CHAIN_MAX)
)
