"""Looking for events: the newest first, page by page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CompoundSelect, Row, Select, exists, func, select, union_all

from hub.errors import UsageError
from hub.operate.lookup import LIMIT, bounded, id_range
from hub.operate.states import DELIVERY_STATES_OF, EVENT_STATES, EventState, rank_of_event, state_of_rank
from hub.store import tables as t
from hub.store.store import Store

_i, _d = t.inbox, t.deliveries
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


async def list_events(
    store: Store, wanted: EventFilter | None = None, *, before: int | None = None, limit: int = LIMIT
) -> EventPage:
    """The newest events that meet the filter, those accepted before number ``before``. Raises UsageError."""
    size = bounded(limit)
    query = _query(wanted or EventFilter()).order_by(_i.c.seq.desc()).limit(size + 1)
    if before is not None:
        query = query.where(_i.c.seq < before)
    async with store.reading() as conn:
        rows = list(await conn.execute(query))
    events = tuple(_summary(row) for row in rows[:size])
    return EventPage(events, events[-1].seq if len(rows) > size else None)


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
    if wanted.tag is not None:
        query = query.where(_i.c.id.in_(_tagged(wanted.tag)))
    return query if wanted.state is None else _in_state(query, wanted.state)


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


def _in_state(query: Select[*tuple[Any, ...]], state: str) -> Select[*tuple[Any, ...]]:
    known = next((one for one in EVENT_STATES if one == state), None)
    if known is None:
        raise UsageError(f"expected a state of an event ({', '.join(EVENT_STATES)}), found {state!r}")
    if known in ("parked", "waiting"):
        # The open deliveries are few and have indexes; the state of every event would have to be worked out.
        query = query.where(_i.c.seq.in_(_open_in(DELIVERY_STATES_OF[known])))
    elif known == "unmatched":
        query = query.where(~exists().where(_d.c.event_seq == _i.c.seq))
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
