"""One delivery as the worker holds it, and how its attempt ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from hub.event import Event, Verdict, chain_of, delivery_id_of


# Not frozen, which would take several times as long to make: there is one for each delivery, and nobody changes it.
@dataclass(slots=True)
class Work:
    """A delivery that has been picked, with its event (a person's correction already in place of the payload)."""

    id: int
    route_id: int
    lane: int
    chain: int
    barrier: bool
    unsure: bool
    state: str
    attempts: int
    event: Event


@dataclass(frozen=True, slots=True)
class Done:
    """The handler returned and its effects are stored."""

    outcome: str


@dataclass(frozen=True, slots=True)
class Discarded:
    """There was nothing to do after all, such as a condition that turned out false."""

    outcome: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Its sender turned out not to be who it says: the event is kept, and nothing was done on its word."""

    outcome: str
    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt ended with an error. Without ``retry_s`` the route's rule decides; ``counts`` False uses none up."""

    error: str
    permanent: bool = False
    retry_s: float | None = None
    counts: bool = True
    within_s: float | None = None
    """How long after its receipt the event may go on being tried without an attempt being used up; None = no end."""
    kind: str = ""
    """The class of a stranger's error: its text may quote what it was given, so only this goes into logs."""


@dataclass(frozen=True, slots=True)
class Deferred:
    """NotYet: leaves its chain and is tried again later, until its deadline."""

    reason: str
    within_s: float
    on_deadline: str
    refuses: bool = False


@dataclass(frozen=True, slots=True)
class Calling:
    """Handed to a task of its own, because its handler calls a provider."""


Ending = Done | Discarded | Refused | Failed | Deferred | Calling


def work_of(row: Row[Any], event: Event) -> Work:
    """A picked row and its event as Work."""
    return Work(
        id=row.id,
        route_id=row.route_id,
        lane=row.lane,
        chain=row.chain,
        barrier=row.barrier,
        unsure=row.unsure,
        state=row.state,
        attempts=row.attempts,
        event=event,
    )


def fresh_work(event: Event, route_id: int, *, unsure: bool) -> Work:
    """A delivery as it is when its event, which has its number, has just been accepted."""
    return Work(
        id=delivery_id_of(event.seq, route_id),
        route_id=route_id,
        lane=event.lane,
        chain=chain_of(route_id, event.chain_key),
        barrier=bool(event.after),
        unsure=unsure,
        state="ready",
        attempts=0,
        event=event,
    )


def event_of(row: Row[Any]) -> Event:
    """An inbox row (with ``corrected``, a person's payload or None) as an Event."""
    event_id: UUID = row.event_id
    return Event(
        id=event_id,
        source=row.source,
        type=row.type,
        key=row.key,
        after=tuple(row.after),
        dedupe_id=row.dedupe_id,
        occurred_at=row.occurred_at,
        received_at=row.received_at,
        content_type=row.content_type,
        payload=row.payload if row.corrected is None else row.corrected,
        headers=row.headers,
        traceparent=row.traceparent,
        verdict=Verdict(row.verdict),
        hops=row.hops,
        seq=row.seq,
        routing_key=row.routing_key,
        message_id=row.message_id,
    )
