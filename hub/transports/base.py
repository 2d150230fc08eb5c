"""What the hub asks of a broker, whichever it is: declare, publish with a verdict per message, consume with exact acks.

A transport keeps these promises (``tests/contract/transports/`` tries each):

- A message is ``Confirmed`` only when the broker holds it durably in every queue that it was routed to.
- Messages of one key go out in the order given. When one is not confirmed, later ones of that key in the same call are
  ``NotConfirmed`` too, whatever became of them, so that the caller sends them again.
- A delivery is acknowledged by its own tag, after the batch's handler returned; never by "everything up to".

Source: docs/guarantees.md, G1 and G3; docs/extending-transports.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol, TypeAlias, runtime_checkable
from uuid import UUID

from hub.errors import RetryableError
from hub.transports.topology import Topology

PUBLISH_TIMEOUT_S = 10.0
CONSUME_BATCH_MAX = 100


class Ability(StrEnum):
    """What a transport can do beyond the promises of all; the contract suite asks accordingly."""

    ORDERS_PER_KEY = "orders_per_key"
    """A queue hands out the messages of a key in the order in which they were published."""
    HALTS_KEY = "halts_key"
    """After a message of a key was refused, nothing later of it in the same call reaches a queue. Without this, a later
    one may arrive before the refused one, and the repeats that follow restore the order."""
    RETURNS_UNROUTABLE = "returns_unroutable"
    """A message that no queue takes is told apart; without this the bindings must be checked when they are declared."""
    REDELIVERED_FLAG = "redelivered_flag"
    """A message that was handed out before, and not acknowledged, says so."""
    ABSORBS_REPEATS = "absorbs_repeats"
    """A message published again while its first copy is still in the queue does not appear twice."""
    REFUSES_MISMATCH = "refuses_mismatch"
    """The broker outlives routing.yaml: ``declare`` raises ConfigError where what exists is something else."""
    STABLE_TAGS = "stable_tags"
    """A message that is handed out again carries the same tag, and no other message ever does: repeats are told apart
    from new messages even where the sender gave no id."""
    SINGLE_CONSUMER = "single_consumer"
    """An ordered queue has one consumer at a time; another one stands by."""


# Not frozen, which would take several times as long to make: there is one for each message, and nobody changes it.
@dataclass(slots=True, kw_only=True)
class OutboundMessage:
    """One message on its way out. ``key`` names what order is kept for; ``message_id`` is the same on every repeat."""

    message_id: str
    exchange: str
    routing_key: str
    content_type: str
    payload: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    key: str


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The broker holds the message in at least one queue."""


@dataclass(frozen=True, slots=True)
class Unroutable:
    """No queue takes the message, or the broker can never take it as it is: sending it again cannot help."""

    reason: str


@dataclass(frozen=True, slots=True)
class NotConfirmed:
    """The broker refused or did not answer in time; the message may have arrived all the same.

    ``was_tried`` is False when it was held back because an earlier one of its key was not confirmed.
    """

    reason: str
    was_tried: bool = True


PublishResult: TypeAlias = Confirmed | Unroutable | NotConfirmed

HELD_BACK = NotConfirmed("an earlier message of its key was not confirmed", was_tried=False)


@dataclass(frozen=True, slots=True)
class HandedOut:
    """One handing out of a message by a broker: in which session, under which number, flagged as repeated or not.

    The same session and number are one handing out, however often the transport gives it to the hub.
    """

    session: UUID
    number: int
    is_flagged: bool


# Not frozen, which would take several times as long to make: there is one for each message, and nobody changes it.
@dataclass(slots=True, kw_only=True)
class Delivered:
    """One message as it came from a queue. ``tag`` is what acknowledges it, valid for this delivery only.

    ``message_id`` and ``timestamp`` (aware UTC) are what the sender wrote; None when it wrote none. ``redelivered``: it
    was handed out before, by the broker or, after a batch that was not stored, by the transport. ``handed_out`` tells
    the two apart where the broker only flags what it hands out again.
    """

    tag: int
    message_id: str | None
    routing_key: str
    content_type: str
    payload: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    redelivered: bool
    timestamp: datetime | None
    handed_out: HandedOut | None = None


OnBatch: TypeAlias = Callable[[Sequence[Delivered]], Awaitable[None]]
"""Takes one batch. Returning means that every message of it is safe: they are acknowledged then, and not before."""

OnProven: TypeAlias = Callable[[Sequence[int]], Awaitable[None]]
"""Takes the tags whose acknowledgement the broker is known to have: these messages are not handed out again."""


class TransportUnavailableError(RetryableError):
    """The broker cannot be reached or does not answer: nothing is known about this call, and no message is at fault."""


class Transport(Protocol):
    """A broker. One object per process; its methods may run at the same time."""

    @property
    def abilities(self) -> frozenset[Ability]:
        """What it can do beyond the promises of all transports."""
        ...

    async def declare(self, topology: Topology, *, takes_away: bool = False) -> None:
        """Make exchanges, queues and bindings exist. Repeating is harmless.

        ``takes_away``: bindings that the hub made by other rules go. Not at a start where others may run: a replica
        that starts with a file of yesterday would take away what today's rules have made.
        Raises ConfigError, naming both sides, where something of that name exists and is different.
        """
        ...

    async def publish(
        self, messages: Sequence[OutboundMessage], *, timeout_s: float = PUBLISH_TIMEOUT_S
    ) -> list[PublishResult]:
        """Send these, many in flight, and answer for each, in the order given, within ``timeout_s`` seconds.

        Raises TransportUnavailableError when the broker as a whole is not there.
        """
        ...

    async def consume(
        self,
        queue: str,
        on_batch: OnBatch,
        *,
        stopping: asyncio.Event,
        batch_size: int = CONSUME_BATCH_MAX,
        on_proven: OnProven | None = None,
    ) -> None:
        """Hand out the queue's messages in batches, one batch at a time, until ``stopping`` is set.

        When ``on_batch`` raises, the whole batch comes again after a pause. A batch in hand at the stop is finished.
        A transport with ``REDELIVERED_FLAG`` and without ``STABLE_TAGS`` calls ``on_proven`` once it knows that an
        acknowledgement has reached the broker; the others never do.
        """
        ...

    async def healthy(self) -> bool:
        """Whether the broker answers."""
        ...

    async def state(self) -> str:
        """How the broker is, in a few words for people: whether it answers, and which queues are without a reader."""
        ...

    async def close(self) -> None:
        """Let go of connections. What was not acknowledged comes again."""
        ...


@dataclass(frozen=True, slots=True)
class QueueInfo:
    """One queue for people. ``is_declared`` is False when routing.yaml no longer names it and messages are left.

    ``messages`` is None where the broker does not say how many there are.
    """

    name: str
    messages: int | None
    oldest_at: datetime | None
    is_declared: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedMessage:
    """One message that lies in a queue. ``id`` rises in the order of the queue."""

    id: int
    message_id: str
    routing_key: str
    content_type: str
    payload: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    published_at: datetime
    deliveries: int


class PlanState(StrEnum):
    """What the broker has, compared with what routing.yaml asks for."""

    MATCHES = "matches"
    MISSING = "missing"
    """It would be made."""
    DIFFERS = "differs"
    """Something else of that name is there: a person must decide."""
    STALE = "stale"
    """The hub made it by former rules; it would be taken away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanItem:
    """One exchange, queue or binding of a plan. ``detail`` names both sides where they differ."""

    kind: str
    name: str
    state: PlanState
    detail: str = ""


@runtime_checkable
class Planner(Protocol):
    """Saying beforehand what ``declare`` would do: what a transport offers that can ask its broker."""

    async def plan(self, topology: Topology) -> list[PlanItem]:
        """Compare, and change nothing. Raises TransportUnavailableError when the broker is not there."""
        ...


@runtime_checkable
class QueueReader(Protocol):
    """Looking into queues without consuming: what a transport offers whose queues are the hub's own."""

    async def queue_list(self) -> list[QueueInfo]:
        """Every queue, by name."""
        ...

    async def queue_read(self, name: str, *, limit: int, after_id: int = 0) -> list[QueuedMessage]:
        """The first messages behind ``after_id``, which stay. Raises UsageError for a queue that is not known."""
        ...

    async def queue_ack(self, name: str, message_ids: Sequence[str]) -> list[str]:
        """Remove exactly these; the answer lists those that were there. Raises UsageError for an unknown queue."""
        ...
