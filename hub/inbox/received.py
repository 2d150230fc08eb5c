"""What reaches the inbox from outside, before it is an event, and what the inbox answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol, TypeAlias, runtime_checkable
from uuid import UUID

from hub.errors import RetryableError
from hub.event import Verdict
from hub.transports.base import HandedOut


# Not frozen, which would take several times as long to make: there is one for each message, and nobody changes it.
@dataclass(slots=True, kw_only=True)
class Received:
    """One authenticated message: the bytes as they came, with what the carrier said about them.

    ``headers`` are already cleaned (lower-case names, no secrets). ``routing_key``, ``message_id`` and ``timestamp``
    are the carrier's own properties: empty or None over plain HTTP. ``redelivered`` is the broker's flag.
    ``carrier_ref`` names this message within its queue for ever, where the transport can: it recognises one that is
    handed out again and has no id of its own. Where the transport only flags such a one, ``unsure_queue`` is its queue
    and ``handed_out`` says by which handing out it came.
    """

    source: str
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    routing_key: str = ""
    message_id: str = ""
    timestamp: datetime | None = None
    verdict: Verdict = Verdict.VALID
    redelivered: bool = False
    carrier_ref: str = ""
    unsure_queue: str = ""
    handed_out: HandedOut | None = None
    traceparent: str = ""


Kind: TypeAlias = Literal["event", "duplicate", "conflict", "unreadable"]


# Not frozen, which would take several times as long to make: there is one for each message, and nobody changes it.
@dataclass(slots=True)
class Accepted:
    """The inbox's answer, given only after the commit.

    event       stored as a new event
    duplicate   this identity was accepted before with the same content; ``event_id`` is the first one
    conflict    this identity was accepted before with other content: kept, a person decides
    unreadable  stored and parked; ``problem`` says what is wrong and where
    """

    kind: Kind
    event_id: UUID
    problem: str = ""
    in_doubt: bool = False
    """Without an id: to be forgotten once its acknowledgement is known to have arrived (``hub/inbox/doubt.py``)."""


class OverloadedError(RetryableError):
    """The inbox has as much in hand as it may; come again after ``delay_s`` seconds."""


class Acceptor(Protocol):
    """Takes messages into the inbox. Answers after the commit; raises OverloadedError or StoreUnavailableError."""

    async def accept(self, received: Received) -> Accepted: ...


@runtime_checkable
class SoonAcceptor(Protocol):
    """Needs no task to wait for its answer: ``tell`` is called with it, or with what ``accept`` would raise."""

    def accept_soon(self, received: Received, tell: Callable[[Accepted | Exception], None]) -> None: ...
