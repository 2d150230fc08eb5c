"""How much comes and goes at this moment, judged by the newest events alone, so that history costs nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import column, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.event import LANES, ROUTE_BITS
from hub.inbox.rows import UNREADABLE_ROUTE_ID
from hub.operate.lookup import route_names
from hub.store import tables as t
from hub.store.store import Store

NEWEST_MAX = 1_000
"""How many events are looked at."""
MINUTES = 30
RATE_MINUTES = 5
"""Over how long the rates of routes are taken."""

_d, _i = t.deliveries, t.inbox


@dataclass(slots=True)
class Minute:
    """What happened in one minute. ``applied`` counts deliveries that were done then, the others deliveries by what
    has become of the events that were accepted then."""

    at: datetime
    accepted: int = 0
    applied: int = 0
    waiting: int = 0
    parked: int = 0


@dataclass(frozen=True, slots=True)
class Pulse:
    """The last ``MINUTES``, oldest first. ``reaches_back`` is when the oldest event looked at came.

    ``is_whole``: no event of these minutes was left out. ``routes`` has deliveries per minute by the route's name.
    """

    minutes: Sequence[Minute]
    is_whole: bool
    reaches_back: datetime | None
    newest: datetime | None
    routes: Mapping[str, float] = field(default_factory=dict)
    sources: Mapping[str, float] = field(default_factory=dict)

    @property
    def accepted_per_minute(self) -> float:
        """Over the last ``RATE_MINUTES``, or as far as the events looked at reach."""
        return sum(self.sources.values())


async def read_pulse(store: Store, now: datetime) -> Pulse:
    """Read the newest events and their deliveries, and sort them into minutes."""
    async with store.reading() as conn:
        newest = select(_i.c.seq, _i.c.source, _i.c.received_at).order_by(_i.c.seq.desc()).limit(NEWEST_MAX)
        events = list(await conn.execute(newest))
        names = await route_names(conn)
        deliveries = []
        if events:
            columns = (_d.c.event_seq, _d.c.route_id, _d.c.state, _d.c.finished_at)
            deliveries = list(await conn.execute(select(*columns).where(_d.c.event_seq >= events[-1].seq)))
    first = now.replace(second=0, microsecond=0) - timedelta(minutes=MINUTES - 1)
    minutes = {first + timedelta(minutes=place): Minute(first + timedelta(minutes=place)) for place in range(MINUTES)}
    minute_of = {}
    for event in events:
        minute = minutes.get(event.received_at.replace(second=0, microsecond=0))
        if minute is not None:
            minute.accepted += 1
            minute_of[event.seq] = minute
    for row in deliveries:
        came, ended = minute_of.get(row.event_seq), None
        if row.finished_at is not None:
            ended = minutes.get(row.finished_at.replace(second=0, microsecond=0))
        if row.state == "done" and ended is not None:
            ended.applied += 1
        elif came is not None and row.state == "parked":
            came.parked += 1
        elif came is not None and row.state in t.OPEN_STATES:
            came.waiting += 1
    oldest = events[-1].received_at if events else None
    recent = now - timedelta(minutes=RATE_MINUTES)
    span_s = RATE_MINUTES * 60.0
    if len(events) == NEWEST_MAX and oldest is not None and oldest > recent:
        span_s = max(1.0, (now - oldest).total_seconds())
    came_of = {event.seq: event for event in events if event.received_at >= recent}
    routes = Counter(
        names.get(row.route_id, "")
        for row in deliveries
        if row.event_seq in came_of and row.route_id != UNREADABLE_ROUTE_ID
    )
    sources = Counter(event.source for event in came_of.values())
    return Pulse(
        minutes=tuple(minutes.values()),
        is_whole=len(events) < NEWEST_MAX or (oldest is not None and oldest < first),
        reaches_back=oldest,
        newest=events[0].received_at if events else None,
        routes={name: count * 60 / span_s for name, count in routes.items()},
        sources={name: count * 60 / span_s for name, count in sources.items()},
    )


@dataclass(frozen=True, slots=True)
class LaneAge:
    """The oldest delivery of a lane that is ready and has not been picked, and since when."""

    lane: int
    event_seq: int
    age_s: float


async def read_lanes(conn: AsyncConnection, now: datetime) -> Sequence[LaneAge]:
    """The lanes in which something is ready, each read from the beginning of its index."""
    # S608: the bound is a number of ours.
    heads = text(
        f"WITH RECURSIVE each(lane) AS (SELECT 0 UNION ALL SELECT lane + 1 FROM each WHERE lane < {LANES - 1})"  # noqa: S608
        " SELECT lane, (SELECT min(id) FROM deliveries WHERE state = 'ready' AND deliveries.lane = each.lane) AS head"
        " FROM each"
    ).columns(column("lane"), column("head"))
    found = {row.lane: row.head >> ROUTE_BITS for row in await conn.execute(heads) if row.head is not None}
    came = select(_i.c.seq, _i.c.received_at).where(_i.c.seq.in_(set(found.values())))
    received = {row.seq: row.received_at for row in await conn.execute(came)} if found else {}
    return [
        LaneAge(lane, seq, max(0.0, (now - received[seq]).total_seconds()))
        for lane, seq in sorted(found.items())
        if seq in received
    ]


async def oldest_waiting(conn: AsyncConnection) -> datetime | None:
    """When the oldest event came that is not done and not with a person; None when nothing waits."""
    oldest: int | None = None
    for indexed, wanted in (
        (("ready",), ("ready",)),
        (t.BEHIND_STATES, ("waiting", "calling", "retrying")),
        (t.OFF_CHAIN_STATES, ("deferred",)),
    ):
        states = t.in_state(_d, *indexed), t.in_state(_d, *wanted)
        head = await conn.scalar(select(func.min(_d.c.event_seq)).where(*states))
        if head is not None and (oldest is None or head < oldest):
            oldest = head
    if oldest is None:
        return None
    received: datetime | None = await conn.scalar(select(_i.c.received_at).where(_i.c.seq == oldest))
    return received
