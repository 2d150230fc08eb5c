"""The rules of delivery: leases that run out, order per key, flow control, exactly-once acknowledgements.

Source: cloud.google.com/pubsub/docs, "Subscription overview", "Order messages", "Exactly-once delivery"; and the
protocol's own comments (google/pubsub/v1/pubsub.proto).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from google.pubsub_v1 import types

INVALID_ACK_ID = "PERMANENT_FAILURE_INVALID_ACK_ID"

PubsubMessage = types.PubsubMessage.pb()
ReceivedMessage = types.ReceivedMessage.pb()


@dataclass(slots=True)
class Lease:
    """One handing out of one message, to one reader, until ``ends_at`` of the loop's clock."""

    ack_id: str
    entry: Entry
    reader: object
    ends_at: float


@dataclass(slots=True)
class Entry:
    """One message in one subscription. ``place`` rises in the order of publication."""

    place: int
    message: Any
    attempts: int = 0
    lease: Lease | None = None
    is_acked: bool = False


@dataclass(slots=True)
class Limits:
    """How much one reader may have in hand; 0 is no limit."""

    messages: int = 0
    bytes: int = 0


@dataclass(slots=True)
class Subscription:
    """The messages of one subscription, and who has which of them in hand."""

    config: Any
    entries: dict[int, Entry] = field(default_factory=dict)
    leases: dict[str, Lease] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    acked_total: int = 0
    _ack_count: int = 0

    def add(self, place: int, message: Any) -> None:
        """A message was published to the topic."""
        self.entries[place] = Entry(place, message)
        self.changed.set()

    def hand_out(self, reader: object, limits: Limits, deadline_s: float, *, at_most: int = 1_000) -> list[Any]:
        """What this reader may have now, under leases of ``deadline_s`` seconds of the loop's clock."""
        self.expire()
        now = asyncio.get_running_loop().time()
        mine = [lease for lease in self.leases.values() if lease.reader is reader]
        count, size = len(mine), sum(len(lease.entry.message.data) for lease in mine)
        busy_keys: set[str] = set()
        given: list[Any] = []
        for place in sorted(self.entries):
            entry = self.entries[place]
            key = entry.message.ordering_key if self.config.enable_message_ordering else ""
            if entry.lease is not None:
                if key and entry.lease.reader is not reader:
                    busy_keys.add(key)
                continue
            if key in busy_keys and key:
                continue
            is_full = (limits.messages and count >= limits.messages) or (limits.bytes and size >= limits.bytes)
            if is_full or len(given) >= at_most:
                break
            count, size = count + 1, size + len(entry.message.data)
            given.append(self._lease(entry, reader, now + deadline_s))
        return given

    def _lease(self, entry: Entry, reader: object, ends_at: float) -> Any:
        self._ack_count += 1
        entry.attempts += 1
        entry.lease = Lease(f"{self.config.name}:{entry.place}:{self._ack_count}", entry, reader, ends_at)
        self.leases[entry.lease.ack_id] = entry.lease
        attempts = entry.attempts if self.config.dead_letter_policy.dead_letter_topic else 0
        return ReceivedMessage(ack_id=entry.lease.ack_id, message=entry.message, delivery_attempt=attempts)

    def acknowledge(self, ack_ids: Iterable[str]) -> dict[str, str]:
        """Remove these. The answer names those that are stale, which only an exactly-once subscription tells."""
        self.expire()
        stale: dict[str, str] = {}
        for ack_id in ack_ids:
            lease = self.leases.pop(ack_id, None)
            if lease is None:
                stale[ack_id] = INVALID_ACK_ID
                continue
            del self.entries[lease.entry.place]
            self.acked_total += 1
        self.changed.set()
        return stale if self.config.enable_exactly_once_delivery else {}

    def modify(self, ack_ids: Sequence[str], deadline_s: float) -> dict[str, str]:
        """Let the leases run ``deadline_s`` from now; 0 gives the messages back at once."""
        self.expire()
        now = asyncio.get_running_loop().time()
        stale: dict[str, str] = {}
        for ack_id in ack_ids:
            lease = self.leases.get(ack_id)
            if lease is None:
                stale[ack_id] = INVALID_ACK_ID
            else:
                lease.ends_at = now + deadline_s
        self.expire()
        return stale if self.config.enable_exactly_once_delivery else {}

    def expire(self) -> None:
        """Take back what is over. In order: later messages of that key come again too, behind it."""
        now = asyncio.get_running_loop().time()
        for lease in [one for one in self.leases.values() if one.ends_at <= now]:
            self._take_back(lease.entry)
            key = lease.entry.message.ordering_key
            if key and self.config.enable_message_ordering:
                for entry in self.entries.values():
                    if entry.place > lease.entry.place and entry.message.ordering_key == key:
                        self._take_back(entry)

    def expire_all(self) -> None:
        """Let every lease run out now, as if its reader had been away for too long."""
        for lease in self.leases.values():
            lease.ends_at = 0.0
        self.expire()
        self.changed.set()

    def _take_back(self, entry: Entry) -> None:
        if entry.lease is not None:
            self.leases.pop(entry.lease.ack_id, None)
            entry.lease = None
            self.changed.set()

    @property
    def next_expiry(self) -> float | None:
        """When the next lease ends, by the loop's clock."""
        return min((lease.ends_at for lease in self.leases.values()), default=None)
