"""Looking for events: the newest first, page by page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID

from sqlalchemy import Column, CompoundSelect, Row, Select, bindparam, exists, func, select, text, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.errors import UsageError
from hub.operate.lookup import LIMIT, bounded, id_range
from hub.operate.states import DELIVERY_STATES_OF, EVENT_STATES, EventState, rank_of_event, state_of_rank
from hub.store import tables as t
from hub.store.store import Store
from hub.store.types import UtcTime
from hub.texts import is_storable

_i, _d = t.inbox, t.deliveries
Span: TypeAlias = tuple[int | None, int | None]
"""From this number on, and below that one; None is no bound."""
NUMBER_MAX = 2**63 - 1
SKEW_S = 300.0
"""How far apart the clocks of processes may be, whose times stand beside numbers that only grow."""
_TRACE = re.compile(r"(?:[0-9a-f]{2}-)?(?P<id>[0-9a-f]{32})(?:-[0-9a-f]{16}-[0-9a-f]{2})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """What to look for; everything given must hold.

    ``event_id`` and ``cause`` (the event whose handler emitted it) may be beginnings of ids, ``trace`` is a W3C trace
    id or a whole ``traceparent``, ``tag`` a value (``ORD123``) or a name and a value (``order_code=ORD123``).
    """

    event_id: str | None = None
    trace: str | None = None
    cause: str | None = None
    source: str | None = None
    type: str | None = None
    key: str | None = None
    dedupe_id: str | None = None
    tag: str | None = None
    state: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSummary:
    """One line of a list of events."""

    id: UUID
    seq: int
    source: str
    type: str
    key: str | None
    dedupe_id: str | None
    received_at: datetime
    payload_bytes: int
    deliveries: int
    problem: str | None
    state: EventState


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events, newest first. ``before`` asks for the next page; None at the end."""

    events: tuple[EventSummary, ...]
    before: int | None
    is_cut: bool = False
    """The page ended because it had looked at enough events, not because it was full."""


async def list_events(
    store: Store,
    wanted: EventFilter | None = None,
    *,
    before: int | None = None,
    limit: int = LIMIT,
    window: int | None = None,
) -> EventPage:
    """The newest events that meet the filter, those accepted before number ``before``. Raises UsageError.

    With ``window`` a page looks at no more events than that, so that it takes no longer however many there are.
    """
    wanted, size = wanted or EventFilter(), bounded(limit)
    if not _can_be(wanted):
        return EventPage((), None)
    before = None if before is None else max(0, min(before, NUMBER_MAX))
    async with store.reading() as conn:
        low, high = await _bounds(conn, wanted)
        high = before if high is None or (before is not None and before < high) else high
        floor = None
        if window is not None and not _is_indexed(wanted):
            floor = await _floor(conn, low or 0, high, window)
        span = (floor if floor is not None else low, high)
        query = _in_state(_within(_query(wanted), _i.c.seq, span), wanted.state, span)
        rows = list(await conn.execute(query.order_by(_i.c.seq.desc()).limit(size + 1)))
    events = tuple(_summary(row) for row in rows[:size])
    if len(rows) > size:
        return EventPage(events, events[-1].seq)
    return EventPage(events, floor, is_cut=floor is not None)


def _can_be(wanted: EventFilter) -> bool:
    """Whether any event can meet the filter."""
    texts = (wanted.source, wanted.type, wanted.key, wanted.dedupe_id, wanted.tag)
    return all(is_storable(text) for text in texts if text is not None)


def _is_indexed(wanted: EventFilter) -> bool:
    """Whether an index leads to few events, whatever else is asked."""
    names = (wanted.event_id, wanted.trace, wanted.cause, wanted.key, wanted.tag)
    return any(one is not None for one in names) or wanted.state in ("parked", "waiting")


async def _floor(conn: AsyncConnection, low: int, high: int | None, window: int) -> int | None:
    """The number of the last event that a page looks at; None where it looks at all that there are."""
    if high is None:
        high = (await conn.scalar(select(func.max(_i.c.seq))) or 0) + 1
    floor = high - window
    before = select(_i.c.seq).where(_i.c.seq >= low, _i.c.seq < floor).limit(1)
    return floor if floor > low and (await conn.execute(before)).first() is not None else None


def _within(query: Select[*tuple[Any, ...]], number: Column[int], span: Span) -> Select[*tuple[Any, ...]]:
    """Only events whose numbers are within the span."""
    low, high = span
    query = query if low is None else query.where(number >= low)
    return query if high is None else query.where(number < high)


async def _bounds(conn: AsyncConnection, wanted: EventFilter) -> tuple[int | None, int | None]:
    """The first number of the time that is asked about, and the first one after it."""
    low = await _number_at(conn, _moved(wanted.since, -SKEW_S)) if wanted.since is not None else None
    high = await _number_at(conn, _moved(wanted.until, SKEW_S)) if wanted.until is not None else None
    return low, high


def _moved(instant: datetime, seconds: float) -> datetime:
    """So much later or earlier, or the instant itself where the calendar ends."""
    try:
        return instant + timedelta(seconds=seconds)
    except OverflowError:
        return instant


async def _number_at(conn: AsyncConnection, instant: datetime) -> int:
    """The number of the first event from this instant on: numbers grow with time, so halving finds it."""
    number: int = (await conn.execute(_NUMBER_AT, {"instant": instant})).scalar_one()
    return number


_EARLIER = """(SELECT number FROM (SELECT seq AS number, received_at AS at FROM inbox
   WHERE seq >= (look.low + look.high) / 2 AND seq < look.high ORDER BY seq LIMIT 1) AS middle WHERE at < :instant)"""
"""The event in the middle, where it came before the instant. There are gaps: it is the first from the middle on."""
# All in the database: a look at twenty places would otherwise be twenty ways there and back.
_NUMBER_AT = text(
    f"""
WITH RECURSIVE look (low, high) AS (
  SELECT coalesce(min(seq), 0), coalesce(max(seq), 0) + 1 FROM inbox
  UNION ALL
  SELECT coalesce({_EARLIER} + 1, look.low),
         CASE WHEN {_EARLIER} IS NULL THEN (look.low + look.high) / 2 ELSE look.high END
  FROM look WHERE look.low < look.high
)
SELECT low FROM look WHERE low >= high
"""  # noqa: S608 - all of it stands here
).bindparams(bindparam("instant", type_=UtcTime()))


def _query(wanted: EventFilter) -> Select[*tuple[Any, ...]]:
    columns = (_i.c.id, _i.c.seq, _i.c.source, _i.c.type, _i.c.key, _i.c.dedupe_id, _i.c.received_at, _i.c.problem)
    query = select(*columns, _i.c.matches, func.length(_i.c.payload).label("size"), rank_of_event().label("rank"))
    for name in ("source", "type", "key", "dedupe_id"):
        value = getattr(wanted, name)
        if value is not None:
            query = query.where(_i.c[name] == value)
    if wanted.event_id is not None:
        query = query.where(_i.c.id.between(*id_range(wanted.event_id)))
    if wanted.trace is not None:
        query = query.where(t.trace_id == _trace_id(wanted.trace))
    if wanted.cause is not None:
        query = query.where(_i.c.cause.between(*id_range(wanted.cause)))
    if wanted.since is not None:
        query = query.where(_i.c.received_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(_i.c.received_at < wanted.until)
    if wanted.tag is not None:
        query = query.where(_i.c.id.in_(_tagged(wanted.tag)))
    return query


def _trace_id(text: str) -> str:
    found = _TRACE.fullmatch(text.strip().lower())
    if found is None:
        raise UsageError(f"expected a trace id of 32 hex digits, found {text!r}")
    return found["id"]


def _tagged(tag: str) -> Select[UUID]:
    name, separator, value = tag.partition("=")
    tagged = select(t.tags.c.event_id)
    return (
        tagged.where(t.tags.c.name == name, t.tags.c.value == value)
        if separator
        else tagged.where(t.tags.c.value == tag)
    )


def _in_state(query: Select[*tuple[Any, ...]], state: str | None, span: Span) -> Select[*tuple[Any, ...]]:
    if state is None:
        return query
    known = next((one for one in EVENT_STATES if one == state), None)
    if known is None:
        raise UsageError(f"expected a state of an event ({', '.join(EVENT_STATES)}), found {state!r}")
    if known in ("parked", "waiting"):
        # The open deliveries are few and have indexes; the state of every event would have to be worked out.
        query = query.where(_i.c.seq.in_(_open_in(DELIVERY_STATES_OF[known])))
    elif known == "unmatched":
        # Of those without a match only the unreadable ones have a delivery.
        return query.where(_i.c.matches == 0, ~exists().where(_d.c.event_seq == _i.c.seq))
    elif known in ("refused", "discarded"):
        ended = _within(select(_d.c.event_seq).where(_d.c.state == known), _d.c.event_seq, span)
        query = query.where(_i.c.seq.in_(ended))
    return query.where(rank_of_event() == EVENT_STATES.index(known))


def _open_in(states: Sequence[str]) -> CompoundSelect[Any]:
    """The events of open deliveries in these states, read from the partial indexes that hold them."""
    parts = []
    for indexed in (("ready",), t.BEHIND_STATES, t.OFF_CHAIN_STATES):
        wanted = [state for state in indexed if state in states]
        if wanted:
            conditions = (t.in_state(_d, *indexed), t.in_state(_d, *wanted))
            parts.append(select(_d.c.event_seq).where(*conditions))
    return union_all(*parts)


def _summary(row: Row[Any]) -> EventSummary:
    return EventSummary(
        id=row.id,
        seq=row.seq,
        source=row.source,
        type=row.type,
        key=row.key,
        dedupe_id=row.dedupe_id,
        received_at=row.received_at,
        payload_bytes=row.size,
        deliveries=row.matches,
        problem=row.problem,
        state=state_of_rank(row.rank),
    )
