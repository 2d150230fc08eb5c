"""Which deliveries may run now: the ready ones of unblocked chains, the heads of chains that are due, the deferred.

Only open rows are in the indexes that are read here, and a ready row of a blocked chain is met once: it is turned into
``waiting`` and read again from its chain's head. The statements are built once for each database, and take lists as one
parameter: nothing is compiled for a batch. Source: docs/decisions/0003-chains-and-lanes.md.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, partial
from itertools import takewhile, zip_longest
from typing import Any, TypeVar

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    FromClause,
    Integer,
    Join,
    Row,
    Select,
    Subquery,
    TableValuedAlias,
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
from hub.store.plain import PlainRow
from hub.store.queries import Query
from hub.store.tables import in_state
from hub.store.types import UtcTime

DUE_CHAINS_MAX = 50
PER_CHAIN_MAX = 50
PER_LANE_MIN = 8
DEFERRED_MAX = 50

_d, _i, _b = t.deliveries, t.inbox, t.blocked
_NOW, _MOST = bindparam("now", type_=UtcTime), bindparam("most", type_=BigInteger)

T = TypeVar("T")


@dataclass(slots=True)
class Picked:
    """What one batch may run, of each chain in order. ``drained`` are due chains that were read from their heads."""

    works: list[Work] = field(default_factory=list)
    drained: set[int] = field(default_factory=set)
    waits: Waits = field(default_factory=Waits)
    turned: int = 0
    is_part: bool = False
    """There may be more like it: as many as were asked for were there, or some that had waited for their time."""

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
    turn: int = 0,
) -> Picked:
    """Read up to ``limit`` deliveries of these lanes. What must wait is told in ``waits``; nothing is written.

    Deliveries of the routes to ``leave`` are not read: many of them must not hide what stands behind them. ``targets``
    says where a route's messages go; ``recent`` may have their events at hand. With every ``turn`` another kind goes
    first, the due, the deferred or the new: there may be time for one delivery only.
    """
    look, picked = _Look(conn, lanes, leave, now, recent if recent is not None else Recent(bytes_max=0)), Picked()
    rows = await _ready_rows(look, limit)
    heads, deferred = await _due(look, limit, picked, *(rows[0][_HAS_DUE] if rows else await _any_due(look)))
    ready = await _ready(look, rows, picked)
    has_barriers = bool(rows and rows[0][_HAS_BARRIERS])
    picked.is_part = len(rows) >= limit or bool(heads or deferred or picked.drained)
    kinds = deque([heads, deferred, ready])
    kinds.rotate(-turn)
    works = _in_turns(kinds)[:limit]
    # A due chain for which there is no place is left as it is, due: it does not go behind those that come after it.
    picked.drained -= {work.chain for work in heads} - {work.chain for work in works}
    if has_barriers or heads or deferred:
        works = await hold_back(conn, works, picked.drained, picked.waits, now=now, targets=targets)
    picked.works = works
    return picked


def _in_turns(kinds: Iterable[Sequence[T]]) -> list[T]:
    """One of each in turn, as far as there are, each in its own order.

    A batch may be cut at any place, by number or by time: none of them crowds out the others.
    """
    return [one for turn in zip_longest(*kinds) for one in turn if one is not None]


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


async def _due(
    look: _Look, limit: int, picked: Picked, has_chains: bool, has_deferred: bool
) -> tuple[list[Work], list[Work]]:
    """What waited for its time: the heads of due chains, which count as ``drained`` then, and the deferred."""
    heads = await _due_heads(look, limit, picked) if has_chains else []
    if not has_deferred:
        return heads, []
    query = _due_deferred(look.dialect, is_leaving=bool(look.leave))
    rows = await look.conn.execute(query, look.bounds | {"now": look.now, "most": min(DEFERRED_MAX, limit)})
    return heads, [work_of(row, event_of(row)) for row in rows]


async def _any_due(look: _Look) -> PlainRow:
    """Whether there are due chains, and due deferred. Said with the ready rows, where there are any."""
    [row] = await _ANY_DUE.rows(look.conn, {"lanes": as_numbers(look.dialect, look.lanes), "now": look.now})
    return row


def _due_flags(dialect: str) -> list[ColumnElement[Any]]:
    """Nearly always neither: this spares two statements."""
    chain = select(_b.c.chain).where(among(dialect, _b.c.lane, "lanes"), _b.c.next_at <= _NOW)
    return [exists(chain), exists(select(_d.c.id).where(_deferred, _d.c.next_at <= _NOW))]


async def _due_heads(look: _Look, limit: int, picked: Picked) -> list[Work]:
    """The rows of due chains from their heads on, up to the first that is parked or calling: that one blocks the rest.

    Of many chains a few rows each, of few chains many: no more than the batch may take.
    """
    due = _due_chains(look.dialect, is_leaving=bool(look.leave))
    bounds = look.bounds | {"now": look.now, "most": min(DUE_CHAINS_MAX, limit)}
    chains = (await look.conn.scalars(due, bounds)).all()
    if not chains:
        return []
    per_chain = min(PER_CHAIN_MAX, -(-limit // len(chains)))
    of_chains = {"chains": as_numbers(look.dialect, chains), "per_chain": per_chain}
    found: dict[int, list[Row[Any]]] = {chain: [] for chain in chains}
    for row in await look.conn.execute(_first_of_chains(look.dialect), of_chains):
        found[row.chain].append(row)
    free: list[list[Row[Any]]] = []
    for chain, rows in found.items():
        heads = list(takewhile(lambda row: row.state not in ("parked", "calling"), rows))
        if rows and not heads:
            picked.waits.blocks.append(Block(chain, rows[0].lane, rows[0].id, rows[0].state, None))
        else:
            picked.drained.add(chain)
            free.append(heads)
    return await _with_events(look, _in_turns(free))


@cache
def _due_chains(dialect: str, *, is_leaving: bool) -> Select[int]:
    query = (
        select(_b.c.chain)
        .where(among(dialect, _b.c.lane, "lanes"), _b.c.next_at <= _NOW, _b.c.state.in_(("backoff", "barrier")))
        .order_by(_b.c.next_at)
        .limit(_MOST)
    )
    # A chain belongs to one route, whose number is in the number of any of its deliveries.
    route: ColumnElement[int] = _b.c.head.op("&")(2**ROUTE_BITS - 1)
    return query.where(~among(dialect, route, "leave")) if is_leaving else query


@cache
def _first_of_chains(dialect: str) -> Select[Any]:
    wanted, own = number_table(dialect, "chains", BigInteger()), _d.alias("own")
    first = (
        select(own.c.id)
        .where(own.c.chain == wanted.c[0], in_state(own, *t.BEHIND_STATES))
        .order_by(own.c.id)
        .limit(bindparam("per_chain", type_=BigInteger))
    )
    joined, d = _looked_up(dialect, _ids(dialect, wanted, first).subquery("heads"))
    return select(*_with_correction(d)).select_from(joined).order_by(d.c.id)


@cache
def _due_deferred(dialect: str, *, is_leaving: bool) -> Select[Any]:
    query = (
        _WORK.where(_deferred, _d.c.next_at <= _NOW, among(dialect, _d.c.lane, "lanes"))
        .order_by(_d.c.next_at)
        .limit(_MOST)
    )
    return query.where(~among(dialect, _d.c.route_id, "leave")) if is_leaving else query


async def _ready(look: _Look, rows: Sequence[PlainRow], picked: Picked) -> list[Work]:
    """Those of the ready rows that may run; those of blocked chains are to wait."""
    ready: list[PlainRow] = []
    behind: list[Behind] = []
    for row in rows:
        if row[_IS_BLOCKED] or row[_CHAIN] in picked.drained:
            behind.append(Behind(row[_ID], row[_CHAIN]))
        else:
            ready.append(row)
    picked.turned = len(behind)
    picked.waits.behind += behind
    return await _with_events(look, ready)


async def _with_events(look: _Look, rows: Sequence[PlainRow]) -> list[Work]:
    """These deliveries with their events: those at hand, the others read."""
    events: dict[int, Event] = {}
    missing: set[int] = set()
    for row in rows:
        # A person's correction stands in for the payload that came.
        event = look.recent.take(row[_EVENT_SEQ]) if row[_CORRECTED] is None else None
        # On SQLite a number is drawn again when its transaction is undone, perhaps before what was kept is forgotten.
        if event is not None and event.id == row[_EVENT_ID]:
            events[row[_EVENT_SEQ]] = event
        else:
            missing.add(row[_EVENT_SEQ])
    if missing:
        seqs = {"seqs": as_numbers(look.dialect, missing)}
        events |= {row.seq: event_of(row) for row in await look.conn.execute(_events(look.dialect), seqs)}
    works: list[Work] = []
    for id_, _, seq, route_id, lane, chain, barrier, unsure, state, attempts, *_ in rows:
        works.append(Work(id_, route_id, lane, chain, barrier, unsure, state, attempts, events[seq]))
    return works


@cache
def _events(dialect: str) -> Select[Any]:
    event_id = _i.c.id.label("event_id")
    columns = (event_id, *(_i.c[name] for name in _EVENT), latest_correction(_i.c.id).label("corrected"))
    return select(*columns).where(among(dialect, _i.c.seq, "seqs"))


async def _ready_rows(look: _Look, limit: int) -> Sequence[PlainRow]:
    """The first ``limit`` ready rows, of which the many lanes of a backlog give a few each."""
    first = _FIRST_READY[bool(look.leave)]
    few = max(1, min(limit, max(PER_LANE_MIN, 4 * limit // max(1, len(look.lanes)))))
    rows = await _rows(look, first, limit, few)
    if len(rows) < limit and few in Counter(row[_LANE] for row in rows).values():
        # Little lies in the other lanes, and one has more: a single busy key must not make small batches.
        rows = await _rows(look, first, limit, limit)
    return rows


async def _rows(look: _Look, first: Query, limit: int, per_lane: int) -> Sequence[PlainRow]:
    return await first.rows(look.conn, look.bounds | {"most": limit, "per_lane": per_lane, "now": look.now})


def _first_ready(dialect: str, *, is_leaving: bool) -> Select[Any]:
    """Ready rows lane by lane, one ordered look into the index each, then the first of them all."""
    wanted = number_table(dialect, "lanes", Integer())
    own = _d.alias("own")
    of_lane = (
        select(own.c.id)
        .where(own.c.lane == wanted.c[0], in_state(own, "ready"))
        .order_by(own.c.id)
        .limit(bindparam("per_lane", type_=BigInteger))
    )
    if is_leaving:
        of_lane = of_lane.where(~among(dialect, own.c.route_id, "leave"))
    # Bounded before anything is joined: behind a backlog most of these rows are left for later.
    heads = _ids(dialect, wanted, of_lane).order_by("id").limit(_MOST)
    joined, d = _looked_up(dialect, heads.subquery("heads"))
    is_blocked = select(_b.c.chain).where(_b.c.chain == d.c.chain).correlate(d).scalar_subquery().is_not(None)
    has_barriers = exists(select(t.barriers.c.chain))
    flags = (is_blocked.label("is_blocked"), has_barriers.label("has_barriers"), *_due_flags(dialect))
    return select(*_with_correction(d), *flags).select_from(joined).order_by(d.c.id)


def _ids(dialect: str, wanted: TableValuedAlias, first: Select[int]) -> Select[int]:
    """The deliveries that ``first`` names for each of ``wanted``."""
    if dialect == "postgresql":
        named = first.correlate(wanted).lateral("first")
        return select(named.c.id).select_from(wanted.join(named, true()))
    return select(_d.c.id).select_from(wanted.join(_d, _d.c.id.in_(first.correlate(wanted))))


def _looked_up(dialect: str, heads: Subquery) -> tuple[Join, FromClause]:
    """These deliveries, joined to their rows, and the rows.

    On PostgreSQL each is looked up by its key (OFFSET keeps the planner from making a join of it): before the first
    ANALYZE, and after one in a quiet hour, it would rather read a whole table once.
    """
    if dialect == "postgresql":
        rows = select(_d).where(_d.c.id == heads.c.id).offset(literal_column("0")).lateral("d")
        return heads.join(rows, true()), rows
    return heads.join(_d, _d.c.id == heads.c.id), _d


def _with_correction(d: FromClause) -> list[ColumnElement[Any]]:
    """A delivery, and the payload that a person may have put in the place of its event's."""
    return [*(d.c[name] for name in _DELIVERY), latest_correction(d.c.event_id).label("corrected")]


_DELIVERY = ("id", "event_id", "event_seq", "route_id", "lane", "chain", "barrier", "unsure", "state", "attempts")
_ID, _EVENT_ID, _EVENT_SEQ, _LANE, _CHAIN = map(_DELIVERY.index, ("id", "event_id", "event_seq", "lane", "chain"))
# What is selected behind the delivery, in this order.
_CORRECTED, _IS_BLOCKED, _HAS_BARRIERS, _DUE = range(len(_DELIVERY), len(_DELIVERY) + 4)
_HAS_DUE = slice(_DUE, _DUE + 2)
_EVENT = tuple(column.name for column in _i.c if column.name not in ("id", "problem", "matches", "cause"))
_WORK = select(*_with_correction(_d), *(_i.c[name] for name in _EVENT)).join(_i, _i.c.seq == _d.c.event_seq)
# The index is that of all states off the chain; the narrower condition alone would not find it on SQLite.
_deferred = in_state(_d, *t.OFF_CHAIN_STATES) & in_state(_d, "deferred")
_DEFERRED_LANES = select(_d.c.lane).where(_deferred, _d.c.next_at <= _NOW).distinct()
_FIRST_READY = {is_leaving: Query(partial(_first_ready, is_leaving=is_leaving)) for is_leaving in (False, True)}
_ANY_DUE = Query(lambda dialect: select(*_due_flags(dialect)))
