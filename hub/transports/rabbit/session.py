"""One channel with its consumers, from the first message to whatever ends it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from itertools import count
from typing import Any, Final
from uuid import uuid4

import aiormq
from pamqp import commands as spec

from hub.transports.base import Delivered
from hub.transports.rabbit.frames import acknowledge, consume
from hub.transports.rabbit.link import RPC_S_MAX, Link, words_of
from hub.transports.rabbit.messages import Arrived, delivered

UNPROVEN_MAX: Final = 100_000
"""Acknowledgements that wait for their proof; beyond it the oldest count as unproven for good."""


_TAG_BITS: Final = 40
_numbers = count(1)


class Session:
    """What has arrived and was not handed out yet. ``ended`` says why nothing more will come."""

    def __init__(self, link: Link, channel: aiormq.Channel, queues: Sequence[str], prefetch: int) -> None:
        self._link = link
        self._channel = channel
        self._queues = tuple(queues)
        self._prefetch = prefetch
        # A channel counts from 1; with the session's number in front, a tag stands for one delivery only.
        self._first_tag = next(_numbers) << _TAG_BITS
        self._id = uuid4()
        self._buffer: deque[Arrived] = deque()
        self._arrived = asyncio.Event()
        self._over = asyncio.Event()
        self._acknowledged: deque[int] = deque(maxlen=UNPROVEN_MAX)
        self._has_acknowledged = asyncio.Event()
        self.taken_in = 0
        self._in_hand = 0
        """Taken in and not acknowledged: while it is not 0, the prefetch may keep more from coming."""
        self._starved_at: int | None = None
        self.ended: str | None = None
        channel.closing.add_done_callback(self._on_closed)
        channel.on_consumer_cancel_callbacks.add(self._on_cancelled)

    @classmethod
    async def open(cls, link: Link, queues: Sequence[str], *, prefetch: int) -> Session:
        """Consume these queues on a new channel. Raises TransportUnavailableError."""
        channel = await link.channel()
        session = cls(link, channel, queues, prefetch)
        try:
            async with link.guarded():
                await channel.basic_qos(prefetch_count=prefetch, timeout=RPC_S_MAX)
                for queue in queues:
                    await consume(
                        channel, queue, session._take_in, consumer_tag=f"hub.{uuid4().hex}", timeout_s=RPC_S_MAX
                    )
        except BaseException:
            await link.discard(channel)
            raise
        return session

    def take(self, most: int) -> list[Delivered]:
        """What has arrived, in its order, at most so many."""
        batch = [self._buffer.popleft() for _ in range(min(most, len(self._buffer)))]
        return [delivered(message, self._first_tag + message.delivery_tag, self._id) for message in batch]

    async def wait(self, stopped: asyncio.Future[Any]) -> None:
        """Until something has arrived, or nothing will."""
        if self._buffer or self.ended is not None:
            return
        self._arrived.clear()
        await _first(self._arrived, stopped, timeout_s=None)

    async def wait_for_end(self, stopped: asyncio.Future[Any], *, timeout_s: float) -> None:
        """Until the session or the hub ends, or the time is over."""
        await _first(self._over, stopped, timeout_s=timeout_s)

    async def acknowledge(self, tags: Sequence[int]) -> None:
        """Raises TransportUnavailableError where the channel does not take it."""
        if self.ended is not None:
            return
        async with self._link.guarded(), asyncio.timeout(RPC_S_MAX):
            await acknowledge(self._channel, [tag - self._first_tag for tag in tags])
        self._in_hand -= len(tags)
        self._acknowledged.extend(tags)
        self._has_acknowledged.set()

    async def acknowledged(self) -> list[int]:
        """Wait for acknowledgements that nobody has asked about yet, and take them."""
        await self._has_acknowledged.wait()
        self._has_acknowledged.clear()
        tags = list(self._acknowledged)
        self._acknowledged.clear()
        return tags

    async def ask(self) -> None:
        """A question without consequence: once it is answered, the broker has read everything written before it."""
        async with self._link.guarded():
            await self._channel.basic_qos(prefetch_count=self._prefetch, timeout=RPC_S_MAX)

    async def ready(self) -> int:
        """How many messages of its queues the broker has not handed out to anybody."""
        return sum([(await self._asked(queue)).message_count or 0 for queue in self._queues])

    def is_idle_since(self, taken_in: int) -> bool:
        """Whether nothing has come since then, and nothing is in hand."""
        return self.taken_in == taken_in and self._in_hand == 0

    async def probe(self) -> str:
        """What is wrong with the consumers as the broker sees them; empty when nothing is.

        Raises TransportUnavailableError when the broker does not answer, or a queue is gone.
        """
        answers = {queue: await self._asked(queue) for queue in self._queues}
        without = [queue for queue, answer in answers.items() if not answer.consumer_count]
        if without:
            return f"the broker has no consumer for {', '.join(without)}"
        waits = any(answer.message_count for answer in answers.values())
        # One that stands by while another one reads gets nothing either, and is right.
        is_alone = all(answer.consumer_count == 1 for answer in answers.values())
        is_starved = waits and self.is_idle_since(self.taken_in) and (self.taken_in > 0 or is_alone)
        was_starved_at, self._starved_at = self._starved_at, self.taken_in if is_starved else None
        if is_starved and was_starved_at == self.taken_in:
            return "messages wait, and the broker hands out none"
        return ""

    async def _asked(self, queue: str) -> spec.Queue.DeclareOk:
        async with self._link.guarded():
            return await self._channel.queue_declare(queue, passive=True, timeout=RPC_S_MAX)

    def end(self, reason: str) -> None:
        """Nothing more is handed out."""
        if self.ended is None:
            self.ended = reason
            self._buffer.clear()
            self._arrived.set()
            self._over.set()

    async def close(self) -> None:
        """Give back what was not acknowledged: the broker hands it out again, in its old place."""
        self.end("closed")
        await self._link.discard(self._channel)

    def _take_in(self, message: Arrived) -> None:
        self.taken_in += 1
        self._in_hand += 1
        self._buffer.append(message)
        self._arrived.set()

    def _on_closed(self, closing: asyncio.Future[Any]) -> None:
        error = None if closing.cancelled() else closing.exception()
        self.end("the channel was closed" if error is None else words_of(error))

    def _on_cancelled(self, frame: spec.Basic.Cancel) -> None:
        self.end("the broker cancelled the consumer: the queue was deleted, or its leader went")


async def _first(event: asyncio.Event, stopped: asyncio.Future[Any], *, timeout_s: float | None) -> None:
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({waiting, stopped}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
