"""What one delivery wants to happen, collected in memory and written with the whole batch as sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from hub.deliver.work import Done, Refused
from hub.event import lane_of
from hub.inbox.draft import Draft
from hub.transports.base import OutboundMessage


# Not frozen, which would take several times as long to make: there is one for each message, and nobody changes it.
@dataclass(slots=True)
class OutgoingMessage:
    """One message for one destination."""

    message_id: str
    destination: str
    routing_key: str
    key: str | None
    content_type: str
    payload: bytes
    headers: Mapping[str, str]

    @property
    def lane(self) -> int:
        """The lane of its key, which need not be the delivery's; a message without a key is its own."""
        return lane_of(self.key if self.key is not None else self.message_id)

    def outbound(self, exchange: str) -> OutboundMessage:
        """The same as the relay hands it to a transport."""
        return OutboundMessage(
            message_id=self.message_id,
            exchange=exchange,
            routing_key=self.routing_key,
            content_type=self.content_type,
            payload=self.payload,
            headers=self.headers,
            key=self.key if self.key is not None else self.message_id,
        )


@dataclass(frozen=True, slots=True)
class Timer:
    """An event that becomes one only when it is due."""

    due_at: datetime
    draft_type: str
    key: str | None
    dedupe_id: str
    payload: bytes
    traceparent: str
    hops: int
    cause: UUID


@dataclass(frozen=True, slots=True)
class ReviewAnswer:
    """The open reviews of an event are settled by what a handler did; ``by`` names its route."""

    event_id: UUID
    note: str
    by: str


@dataclass(slots=True)
class Effects:
    """Everything that is written with a delivery, apart from the ledger and the capability's own tables."""

    drafts: list[Draft] = field(default_factory=list)
    messages: list[OutgoingMessage] = field(default_factory=list)
    timers: list[Timer] = field(default_factory=list)
    tags: set[tuple[str, str]] = field(default_factory=set)
    outcome: str = "applied"
    review: tuple[str, str] | None = None
    refusal: str | None = None
    """Why the event's sender is not believed; None where it is."""
    answers: list[ReviewAnswer] = field(default_factory=list)
    result: Any = None

    @property
    def ending(self) -> Done | Refused:
        """How the delivery ends, now that its handler has returned."""
        return Done(self.outcome) if self.refusal is None else Refused(self.outcome, self.refusal)

    def copy(self) -> Effects:
        """What has been collected so far, to go back to with ``restore``."""
        return replace(
            self,
            drafts=list(self.drafts),
            messages=list(self.messages),
            timers=list(self.timers),
            tags=set(self.tags),
            answers=list(self.answers),
        )

    def restore(self, kept: Effects) -> None:
        """Forget what was collected since ``kept`` was copied."""
        for one in fields(self):
            setattr(self, one.name, getattr(kept, one.name))
