"""What one consumer has in hand: received under a lease, and not yet acknowledged. No network here.

A message that comes again while it is in hand (its lease ran out somewhere on the way) is not handed out twice: it only
gets the newer ack id, which alone is valid from then on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hub.transports.base import Delivered
from hub.transports.pubsub.messages import from_pubsub


@dataclass(slots=True, eq=False)
class Held:
    """One message. ``ack_id`` is the newest one that the broker has given out for it."""

    ack_id: str
    delivered: Delivered
    size: int
    tries: int = 0


class Hand:
    """Messages by the broker's id: those that wait for a batch, and all of them for their leases."""

    def __init__(self, *, messages_max: int, bytes_max: int) -> None:
        self._messages_max = messages_max
        self._bytes_max = bytes_max
        self._held: dict[int, Held] = {}
        self._waiting: deque[Held] = deque()
        self._bytes = 0
        self.arrived = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()

    def __len__(self) -> int:
        return len(self._held)

    def add(self, received: Iterable[Any]) -> None:
        """Take what the broker handed out."""
        for one in received:
            delivered = from_pubsub(one)
            known = self._held.get(delivered.tag)
            if known is not None:
                known.ack_id = one.ack_id
                continue
            held = Held(one.ack_id, delivered, len(delivered.payload))
            self._held[delivered.tag] = held
            self._waiting.append(held)
            self._bytes += held.size
        if self._waiting:
            self.arrived.set()
        self._look_for_room()

    async def room(self) -> None:
        """Wait until there is room: a broker that sends more than it was asked for is left unread."""
        await self._has_room.wait()

    def next_batch(self, most: int) -> list[Held]:
        """The messages that have waited longest; they stay in hand until they are let go."""
        batch = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
        if not self._waiting:
            self.arrived.clear()
        return batch

    def let_go(self, those: Iterable[Held]) -> None:
        """These are acknowledged, given back or lost."""
        for held in those:
            if self._held.pop(held.delivered.tag, None) is not None:
                self._bytes -= held.size
        self._look_for_room()

    def lose(self, ack_ids: Iterable[str]) -> None:
        """The broker has taken these back. What still waited will come again; what is being worked on goes on."""
        gone = set(ack_ids)
        lost = [held for held in self._waiting if held.ack_id in gone]
        for held in lost:
            self._waiting.remove(held)
        self.let_go(lost)
        if not self._waiting:
            self.arrived.clear()

    def give_back(self) -> list[str]:
        """Empty the hand; the answer is the ack ids, latest first, so that a key comes again from its first message."""
        ack_ids = [held.ack_id for held in self._held.values()]
        self._held.clear()
        self._waiting.clear()
        self._bytes = 0
        self.arrived.clear()
        self._look_for_room()
        return ack_ids[::-1]

    @property
    def ack_ids(self) -> list[str]:
        return [held.ack_id for held in self._held.values()]

    def _look_for_room(self) -> None:
        if len(self._held) < self._messages_max and self._bytes < self._bytes_max:
            self._has_room.set()
        else:
            self._has_room.clear()
