"""Looking into queues for people. AMQP has no way to look without taking: messages are taken and given back.

While somebody looks, what was read is in the reader's hands and nobody else gets it; it goes back to its place when the
reader closes, marked as redelivered. One consumer takes them all: what single ``basic.get`` calls took from a quorum
queue comes back in another order. Source: docs/rabbitmq.md, "Looking into queues".
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from aiormq.exceptions import ChannelClosed

from hub.errors import UsageError
from hub.routing.fields import nearest
from hub.transports.base import Delivered, QueuedMessage, QueueInfo, TransportUnavailableError
from hub.transports.rabbit.link import RPC_S_MAX, Link
from hub.transports.rabbit.record import BindingRecord
from hub.transports.rabbit.session import Session

READ_MAX: Final = 10_000
"""How far into a queue anybody looks."""
LOOK_PAUSE_S: Final = 0.05
_COUNT: Final = re.compile(r"[0-9]{1,9}")
LOOK_S_MAX: Final = 5.0
"""How long the broker may take to hand out what is there."""


class Look:
    """One queue being looked into."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.held: list[Delivered] = []

    async def collect(self, count: int) -> None:
        """Take so many, or all that are there. Raises UsageError when the broker gives them to somebody else."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S_MAX):
                while len(self.held) < count:
                    # Asked first: what was ready then has arrived, or is on its way.
                    waiting = await self.session.ready()
                    self.held += self.session.take(READ_MAX)
                    if not waiting or len(self.held) >= READ_MAX:
                        return
                    await asyncio.sleep(LOOK_PAUSE_S)
        if not self.held:
            raise UsageError("its messages go to another consumer, which reads the queue alone: stop that one first")


class Reader:
    """Takes messages and holds them; ``release`` gives them back."""

    def __init__(self, link: Link, record: BindingRecord) -> None:
        self._link = link
        self._record = record
        self._looks: dict[str, Look] = {}

    async def infos(self) -> list[QueueInfo]:
        """The queues that the hub has made, by its own record, with what waits; one that is gone is left out."""
        infos = []
        for name in await self._names():
            ready = await self._ready(name)
            if ready is not None:
                held = len(self._looks[name].held) if name in self._looks else 0
                infos.append(QueueInfo(name=name, messages=ready + held, oldest_at=None, is_declared=True))
        return infos

    async def read(self, name: str, *, limit: int, after_id: int) -> list[QueuedMessage]:
        """An id is the message's place as this reader met it, from 1."""
        end = after_id + limit
        look = self._looks.get(name)
        if look is None or look.session.ended is not None:
            look = await self._open(name)
        await look.collect(end)
        return [_queued(place + 1, one) for place, one in enumerate(look.held[:end]) if place >= after_id]

    async def ack(self, name: str, message_ids: Sequence[str]) -> list[str]:
        """Remove exactly these; the others go back at once."""
        look = await self._open(name)
        await look.collect(READ_MAX)
        found = {one.message_id: one.tag for one in look.held if one.message_id in set(message_ids)}
        if found:
            await look.session.acknowledge(list(found.values()))
            # Its answer comes after the broker has read the acknowledgements.
            await look.session.ask()
        await self.release()
        return [one for one in dict.fromkeys(message_ids) if one in found]

    async def release(self) -> None:
        """Give back what was taken."""
        while self._looks:
            _, look = self._looks.popitem()
            await look.session.close()

    async def _open(self, name: str) -> Look:
        if name in self._looks:
            await self._looks.pop(name).session.close()
        if await self._ready(name) is None:
            raise UsageError(f"there is no queue {name!r}; {nearest(name, await self._names())}")
        look = Look(await Session.open(self._link, [name], prefetch=READ_MAX))
        self._looks[name] = look
        return look

    async def _names(self) -> list[str]:
        return sorted({binding.queue for binding in await self._record.all()})

    async def _ready(self, name: str) -> int | None:
        """How many messages wait to be taken; None when there is no such queue."""
        channel = await self._link.channel()
        try:
            async with self._link.guarded():
                answer = await channel.queue_declare(name, passive=True, timeout=RPC_S_MAX)
        except TransportUnavailableError as error:
            if isinstance(error.__cause__, ChannelClosed):
                return None
            raise
        finally:
            await self._link.discard(channel)
        return int(answer.message_count or 0)


def _queued(place: int, one: Delivered) -> QueuedMessage:
    count = one.headers.get("x-delivery-count", "")
    return QueuedMessage(
        id=place,
        message_id=one.message_id or "",
        routing_key=one.routing_key,
        content_type=one.content_type,
        payload=one.payload,
        headers=one.headers,
        published_at=one.timestamp or datetime.fromtimestamp(0, UTC),
        # Whoever publishes may write this header as well as the broker.
        deliveries=int(count) if _COUNT.fullmatch(count) else int(one.redelivered),
    )
