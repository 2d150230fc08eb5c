"""The words of an explanation: what is known of an event, what each rule says, what a dry run of its routes does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from hub.event import Event
from hub.ledger import PostedEntry

IdentityStatus = Literal["new", "none", "duplicate", "conflict", "stored"]
"""new: not seen before; none: it has no identity; duplicate, conflict: known already; stored: it is this event."""

Play = Literal["done", "discarded", "refused", "failed", "deferred", "stopped_at_call", "not_rehearsed"]
"""How a rehearsal ended."""

SETTLED_STATES = frozenset({"done", "refused", "discarded"})


@dataclass(frozen=True, slots=True)
class Verification:
    """How the sender was proven. ``verdict`` is None for what was given by hand."""

    verdict: str | None
    how: str


@dataclass(frozen=True, slots=True)
class Identity:
    """By what a repeat of the event is recognised: ``taken_from`` names the paths of the source that gave it.

    ``event_id`` is the event that holds the identity already.
    """

    status: IdentityStatus
    dedupe_id: str | None
    taken_from: str
    event_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class UnreadableProblem:
    """Why the event cannot be read, and where."""

    text: str
    line: int | None = None
    column: int | None = None
    field: str | None = None


@dataclass(frozen=True, slots=True)
class ShownMessage:
    """A message to a destination."""

    destination: str
    routing_key: str
    key: str | None
    message_id: str
    content_type: str
    payload: bytes
    headers: Mapping[str, str]


@dataclass(slots=True)
class Emission:
    """An event that a handler emits, and what the routes that take it would do. ``status`` is the inbox's answer."""

    event: Event
    status: str
    event_id: UUID
    note: str = ""
    rehearsals: list[Rehearsal] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ShownTimer:
    """An event that is to come at ``due_at``."""

    due_at: datetime
    type: str
    key: str | None
    payload: bytes


@dataclass(frozen=True, slots=True)
class ShownCall:
    """One step of calling a provider. ``what`` says what would be done; ``request`` holds JSON values."""

    step: str
    number: int
    provider: str
    key: str
    what: str
    request: Any


@dataclass(frozen=True, slots=True)
class ShownError:
    """An error: its class and its words."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Consequence:
    """What would become of the delivery after the attempt. ``wait_s`` is the longest time until the next one."""

    state: str
    text: str
    wait_s: float | None = None


@dataclass(slots=True)
class Rehearsal:
    """The dry run of one delivery. ``recorded`` is the state of the delivery that exists already.

    ``counts`` is False where the delivery has ended already: it will not run again, and an error says nothing.
    """

    route: str
    handler: str | None
    kind: Literal["forward", "database", "calls"]
    provider: str | None
    recorded: str | None
    play: Play
    outcome: str | None = None
    review: str | None = None
    error: ShownError | None = None
    consequence: Consequence | None = None
    entries: Sequence[PostedEntry] = ()
    messages: Sequence[ShownMessage] = ()
    emitted: list[Emission] = field(default_factory=list)
    timers: Sequence[ShownTimer] = ()
    tags: Sequence[tuple[str, str]] = ()
    calls: Sequence[ShownCall] = ()
    notes: list[str] = field(default_factory=list)

    @property
    def counts(self) -> bool:
        return self.recorded not in SETTLED_STATES

    @property
    def failed(self) -> bool:
        """It fails itself, or something that follows from it does."""
        is_parked = self.consequence is not None and self.consequence.state == "parked"
        own = is_parked or self.play in ("failed", "not_rehearsed")
        return self.counts and (own or any(one.failed for one in self.following))

    @property
    def following(self) -> Iterator[Rehearsal]:
        """The rehearsals of the events that it emits."""
        return (one for emission in self.emitted for one in emission.rehearsals)
