"""Is everything accounted for? Judged from stored data alone, at one moment, without changing anything.

    received = duplicates + conflicts + events        per source; the left side is counted apart from the rows
    events   = parked + waiting + refused + discarded + applied + unmatched

What is in the archive is counted with the rest, by the totals that were kept when its rows were deleted.
Source: docs/guarantees.md, "Nothing accepted is lost".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Select, and_, except_, exists, func, literal, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.event import ROUTE_BITS
from hub.inbox.rows import UNREADABLE_ROUTE_ID
from hub.ledger.verify import Difference, verify
from hub.operate.states import EVENT_STATES, EventState, rank_of_event, state_of_rank
from hub.store import tables as t
from hub.store import tables_archive as a
from hub.store.store import Store

VIOLATIONS_MAX = 100
"""How many violations of each sort are reported."""

Check: TypeAlias = tuple[str, Select[*tuple[Any, ...]]]

_d, _i, _b, _a = t.deliveries, t.inbox, t.blocked, a.archived


@dataclass(frozen=True, slots=True)
class SourceCount:
    """What came from one source, and what was made of it. ``archived`` of the events are in the archive."""

    source: str
    received: int
    duplicates: int
    conflicts: int
    events: int
    archived: int = 0

    @property
    def holds(self) -> bool:
        return self.received == self.duplicates + self.conflicts + self.events


@dataclass(frozen=True, slots=True)
class EquationReport:
    """The numbers, and everything that is not as it must be."""

    sources: tuple[SourceCount, ...]
    states: Mapping[EventState, int]
    violations: tuple[Difference, ...]

    @property
    def holds(self) -> bool:
        return not self.violations

    @property
    def received(self) -> int:
        return sum(one.received for one in self.sources)


async def check(store: Store) -> EquationReport:
    """Count, compare, and recompute the books. Reads everything once: minutes where there are many millions of rows."""
    async with store.reading() as conn:
        return await check_in(conn)


async def check_in(conn: AsyncConnection) -> EquationReport:
    """The same of what one transaction sees, at whose beginning this is called."""
    # First, because it makes the whole transaction one snapshot on PostgreSQL.
    ledger = await verify(conn)
    sources = await _sources(conn)
    states = await _states(conn)
    violations = [*_unequal(sources, states), *await _violations(conn)]
    books = [Difference(f"ledger: {one.sort}", one.subject, one.expected, one.found) for one in ledger]
    return EquationReport(sources, states, tuple(violations + books))


async def _sources(conn: AsyncConnection) -> tuple[SourceCount, ...]:
    counted = [
        dict([tuple(row) for row in await conn.execute(select(table.c.source, number).group_by(table.c.source))])
        for table, number in (
            (t.received_totals, func.sum(t.received_totals.c.received)),
            (t.duplicates, func.count()),
            (t.conflicts, func.count()),
            (t.inbox, func.count()),
        )
    ]
    gone = await _archived(conn)
    names = sorted(set().union(*counted, (source for source, _ in gone)))
    return tuple(_source(name, [int(one.get(name, 0)) for one in counted], gone) for name in names)


def _source(name: str, counted: Sequence[int], gone: Mapping[tuple[str, str], int]) -> SourceCount:
    received, duplicates, conflicts, events = counted
    archived = sum(gone.get((name, state), 0) for state in EVENT_STATES)
    return SourceCount(
        name,
        received,
        duplicates + gone.get((name, "duplicates"), 0),
        conflicts + gone.get((name, "conflicts"), 0),
        events + archived,
        archived,
    )


async def _archived(conn: AsyncConnection) -> dict[tuple[str, str], int]:
    rows = await conn.execute(select(a.archived_totals))
    return {(row["source"], row["sort"]): int(row["count"]) for row in rows.mappings()}


async def _states(conn: AsyncConnection) -> dict[EventState, int]:
    ranked = select(rank_of_event().label("rank")).select_from(_i).subquery()
    rows = await conn.execute(select(ranked.c.rank, func.count()).group_by(ranked.c.rank))
    counts = dict.fromkeys(EVENT_STATES, 0) | {state_of_rank(rank): count for rank, count in rows}
    for (_, sort), count in (await _archived(conn)).items():
        for state in EVENT_STATES:
            counts[state] += count if state == sort else 0
    return counts


def _unequal(sources: tuple[SourceCount, ...], states: Mapping[EventState, int]) -> list[Difference]:
    found = [
        Difference(
            "received",
            f"source {one.source}",
            f"{one.received} received",
            f"{one.duplicates} duplicates + {one.conflicts} conflicts + {one.events} events",
        )
        for one in sources
        if not one.holds
    ]
    events, in_states = sum(one.events for one in sources), sum(states.values())
    if events != in_states:
        found.append(Difference("events", "all sources", f"{events} events", f"{in_states} in a state"))
    return found


async def _violations(conn: AsyncConnection) -> list[Difference]:
    found = []
    for sort, (expected, query) in _checks().items():
        rows = await conn.execute(query.limit(VIOLATIONS_MAX))
        found += [Difference(sort, str(row[0]), expected, str(row[1])) for row in rows]
    return found


def _checks() -> dict[str, Check]:
    """What must not be found, by name: what is expected, and a query for the subjects with what is there instead."""
    return _event_checks() | _delivery_checks() | _chain_checks() | _reference_checks() | _archive_checks()


def _event_checks() -> dict[str, Check]:
    own = and_(_d.c.event_seq == _i.c.seq, _d.c.route_id != UNREADABLE_ROUTE_ID)
    made = select(func.count()).where(own).correlate(_i).scalar_subquery()
    pseudo = and_(_d.c.event_seq == _i.c.seq, _d.c.route_id == UNREADABLE_ROUTE_ID)
    # EXCEPT, because neither database has an index to look an identity up by its event: it sorts both sides once.
    unclaimed = except_(select(_i.c.id).where(_i.c.dedupe_id.is_not(None)), select(t.identities.c.event_id)).subquery()
    return {
        "deliveries of an event": (
            "as many as routes matched",
            select(_i.c.id, made).where(made != _i.c.matches),
        ),
        "unreadable event": (
            "parked or discarded",
            select(_i.c.id, literal("neither")).where(
                _i.c.problem.is_not(None), ~exists().where(pseudo, _d.c.state.in_(("parked", "discarded")))
            ),
        ),
        "readable event": (
            "not parked as unreadable",
            select(_i.c.id, literal("parked")).where(
                _i.c.problem.is_(None), exists().where(pseudo, _d.c.state != "done")
            ),
        ),
        "identity of an event": (
            "claimed",
            select(unclaimed.c.id, literal("free")),
        ),
    }


def _delivery_checks() -> dict[str, Check]:
    is_open = _d.c.state.in_(t.OPEN_STATES)
    unsent = t.outbox.c.state.in_(("ready", "waiting", "parked"))
    has_unsent = exists().where(t.outbox.c.delivery_id == t.barriers.c.delivery_id, unsent)
    started = and_(t.calls.c.delivery_id == _d.c.id, t.calls.c.state == "started")
    return {
        "delivery without an event": (
            "an event",
            select(_d.c.id, literal("none")).outerjoin(_i, _i.c.seq == _d.c.event_seq).where(_i.c.seq.is_(None)),
        ),
        "number of a delivery": (
            "its event's number and its route's",
            select(_d.c.id, _d.c.event_seq).where(_d.c.id != _d.c.event_seq * (1 << ROUTE_BITS) + _d.c.route_id),
        ),
        "end of a delivery": (
            "a time exactly when it is finished",
            select(_d.c.id, _d.c.state).where(is_open == _d.c.finished_at.is_not(None)),
        ),
        "barrier": (
            "an unfinished delivery, or messages of it to send",
            select(t.barriers.c.delivery_id, func.coalesce(_d.c.state, "none"))
            .outerjoin(_d, _d.c.id == t.barriers.c.delivery_id)
            .where(or_(_d.c.id.is_(None), ~is_open), ~has_unsent),
        ),
        "call of a finished delivery": (
            "an outcome",
            select(_d.c.id, t.calls.c.step).join(t.calls, started).where(_d.c.state.in_(("done", "refused"))),
        ),
        "review": (
            "a delivery that is done",
            select(t.reviews.c.delivery_id, func.coalesce(_d.c.state, "none"))
            .outerjoin(_d, _d.c.id == t.reviews.c.delivery_id)
            .where(or_(_d.c.id.is_(None), _d.c.state != "done")),
        ),
    }


def _chain_checks() -> dict[str, Check]:
    """A chain that nobody looks at again is as bad as a lost event."""
    behind = and_(_d.c.chain == _b.c.chain, _d.c.state.in_(t.BEHIND_STATES))
    stopped = and_(_d.c.chain == _b.c.chain, _d.c.state == _b.c.state)
    return {
        "waiting delivery": (
            "a blocked chain to wait for",
            select(_d.c.id, _d.c.state)
            .outerjoin(_b, _b.c.chain == _d.c.chain)
            .where(_d.c.state.in_(("waiting", "calling", "retrying")), _b.c.chain.is_(None)),
        ),
        "blocked chain": ("something that waits", select(_b.c.chain, _b.c.state).where(~exists().where(behind))),
        "stopped chain": (
            "a delivery in that state",
            select(_b.c.chain, _b.c.state).where(_b.c.state.in_(("parked", "calling")), ~exists().where(stopped)),
        ),
        "next look at a chain": (
            "a time",
            select(_b.c.chain, _b.c.state).where(_b.c.state.in_(("backoff", "barrier")), _b.c.next_at.is_(None)),
        ),
        "deferred delivery": (
            "a time to try again",
            select(_d.c.id, literal("none")).where(_d.c.state == "deferred", _d.c.next_at.is_(None)),
        ),
    }


def _reference_checks() -> dict[str, Check]:
    return {
        name: ("an event", _without_event(table.c.event_id, column))
        for name, table, column in (
            ("event of an identity", t.identities, t.identities.c.event_id),
            ("event of a duplicate", t.duplicates, t.duplicates.c.id),
            ("event of a conflict", t.conflicts, t.conflicts.c.id),
            ("event of a correction", t.corrections, t.corrections.c.event_id),
        )
    }


def _without_event(event_id: ColumnElement[Any], subject: ColumnElement[Any]) -> Select[*tuple[Any, ...]]:
    is_archived = exists().where(_a.c.event_id == event_id)
    return select(subject, event_id).outerjoin(_i, _i.c.id == event_id).where(_i.c.id.is_(None), ~is_archived)


def _archive_checks() -> dict[str, Check]:
    noted = select(func.count()).select_from(_a).where(~_a.c.late).scalar_subquery()
    totals = a.archived_totals
    counted = (
        select(func.coalesce(func.sum(totals.c.count), 0)).where(totals.c.sort.in_(EVENT_STATES)).scalar_subquery()
    )
    return {
        "archived event": (
            "no row in the inbox any more",
            select(_a.c.event_id, _i.c.seq).join(_i, _i.c.id == _a.c.event_id),
        ),
        "object of an archived event": (
            "an object",
            select(_a.c.event_id, _a.c.object_id)
            .outerjoin(a.archive_objects, a.archive_objects.c.id == _a.c.object_id)
            .where(a.archive_objects.c.id.is_(None)),
        ),
        "archived events": (
            "as many as were counted",
            select(counted, noted).where(counted != noted),
        ),
    }
