"""What one delivery wants to happen, collected in memory and written with the whole batch as sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from hub.event import lane_of
from hub.inbox.draft import Draft


@dataclass(frozen=True, slots=True)
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
    answers: list[ReviewAnswer] = field(default_factory=list)
    result: Any = None

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
