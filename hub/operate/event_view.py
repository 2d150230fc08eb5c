"""What is shown of one event, as ``event_details.py`` reads it. Payloads are masked, times are UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from hub.ledger.model import PostedEntry
from hub.operate.states import EventState


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A payload: its size and hash, and its text with the source's masked fields as asterisks."""

    payload_bytes: int
    sha256: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    number: int
    content: Content
    corrected_by: str
    reason: str
    corrected_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ConflictCopy:
    """A message under the same identity with other content."""

    id: UUID
    received_at: datetime
    content: Content
    state: str
    resolved_by: str | None
    note: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptDetails:
    """An attempt that failed."""

    started_at: datetime
    duration_ms: float
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallDetails:
    """A call to a provider; ``outcome`` is as it was recorded."""

    step: str
    number: int
    provider: str
    key: str
    state: str
    outcome: Mapping[str, object] | None
    started_at: datetime
    settled_at: datetime | None
    lookups: int
    closed_at: datetime | None = None
    """When somebody had answered for it, where it has no outcome."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewDetails:
    outcome: str
    reason: str
    state: str
    resolved_by: str | None
    note: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryDetails:
    """One route's delivery. ``waits_behind`` is the event at the head of its chain, where that is another one."""

    id: int
    route: str
    state: str
    outcome: str | None
    reason: str | None
    attempts: int
    next_at: datetime | None
    finished_at: datetime | None
    waits_behind: UUID | None
    failed: tuple[AttemptDetails, ...]
    calls: tuple[CallDetails, ...]
    review: ReviewDetails | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageDetails:
    """A message in the outbox; ``routing_key`` and ``message_id`` are those its consumer sees."""

    seq: int
    message_id: str
    destination: str
    routing_key: str
    state: str
    attempts: int
    reason: str | None
    payload_bytes: int
    sha256: str
    created_at: datetime
    sent_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedEvent:
    """An event of the same trace; ``cause`` is the one whose handler emitted it, None where it came from outside."""

    id: UUID
    seq: int
    source: str
    type: str
    hops: int
    cause: UUID | None
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerDetails:
    """An event of this trace that is still to come."""

    type: str
    key: str | None
    due_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationDetails:
    """What a person did."""

    at: datetime
    actor: str
    action: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventDetails:
    """One event with everything that is known of it. ``postings`` are the ledger's entries, oldest first.

    ``standing_still`` says why what is open of it waits for nobody else in its chain. ``archived_in`` are the objects
    of the archive that it was read from; none where it is in the tables.
    """

    id: UUID
    seq: int
    source: str
    type: str
    key: str | None
    after: tuple[str, ...]
    dedupe_id: str | None
    routing_key: str
    message_id: str
    occurred_at: datetime
    received_at: datetime
    content_type: str
    headers: Mapping[str, str]
    trace_id: str
    verdict: str
    hops: int
    cause: UUID | None
    problem: str | None
    state: EventState
    content: Content
    duplicates: tuple[datetime, ...]
    conflicts: tuple[ConflictCopy, ...]
    corrections: tuple[Correction, ...]
    deliveries: tuple[DeliveryDetails, ...]
    postings: tuple[PostedEntry, ...]
    messages: tuple[MessageDetails, ...]
    tags: tuple[tuple[str, str], ...]
    trace: tuple[TracedEvent, ...]
    timers: tuple[TimerDetails, ...]
    operations: tuple[OperationDetails, ...]
    standing_still: tuple[str, ...] = ()
    archived_in: tuple[str, ...] = ()
