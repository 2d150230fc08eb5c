"""Whoever reads the hubs' queues: takes every message, notes it down, acknowledges it, comes back after each loss."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from hashlib import sha256
from typing import Final, TypeAlias

import aiormq

from hub.transports import TransportUnavailableError
from hub.transports.rabbit.link import translated

QUEUES: Final = (
    "smc.customerEvents",
    "loymax.registration",
    "loymax.cards",
    "loymax.purchases",
    "loymax.profile",
    "loymax.other",
    "fraud.purchases",
    "loyalty.platform",
    "wallet.platform",
    "shop.platform",
    "sepay.command.answers",
    "sepay.needs_review",
    "paypal.webhook.verified",
    "paypal.webhook.error",
    "paypal.subscription.answers",
    "paypal.invoices",
    "paypay.command.answers",
    "paypay.results",
)
"""Every queue of a destination that no source of the hub reads."""
MEMBERS: Final = ("smc.customerEvents", "loymax.other")
"""Each event of Loymax comes to exactly one of these."""
PREFETCH: Final = 200
LOOK_S: Final = 0.1
CONNECT_S_MAX: Final = 10.0
DIGEST_BYTES: Final = 16
Digest: TypeAlias = bytes


def digest_of(body: bytes) -> Digest:
    """Stands for a body: a hundred thousand of them are remembered."""
    return sha256(body).digest()[:DIGEST_BYTES]


class Consumers:
    """What came, per queue: message ids with their bodies, each for the first time in this order, and how often."""

    def __init__(self, url: str) -> None:
        self.first: defaultdict[str, dict[str, Digest]] = defaultdict(dict)
        self.repeats = 0
        self.changed: list[str] = []
        """Repeats that had another body."""
        self.without_id = 0
        self.connections = 0
        self._url = url

    @property
    def events_told(self) -> int:
        """How many of Loymax' events have come."""
        return sum(len(self.first[queue]) for queue in MEMBERS)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            connection: aiormq.abc.AbstractConnection | None = None
            with suppress(TransportUnavailableError):
                try:
                    async with translated("the broker"), asyncio.timeout(CONNECT_S_MAX):
                        connection = await aiormq.connect(self._url)
                        channels = [await self._reading(connection, queue) for queue in QUEUES]
                    self.connections += 1
                    while not connection.is_closed and not any(one.is_closed for one in channels):  # noqa: ASYNC110
                        await asyncio.sleep(LOOK_S)
                finally:
                    if connection is not None:
                        await _close(connection)
            await asyncio.sleep(LOOK_S)

    async def _reading(self, connection: aiormq.abc.AbstractConnection, queue: str) -> aiormq.abc.AbstractChannel:
        channel = await connection.channel()
        await channel.basic_qos(prefetch_count=PREFETCH)
        await channel.basic_consume(queue, partial(self._take, queue, channel))
        return channel

    async def _take(
        self, queue: str, channel: aiormq.abc.AbstractChannel, message: aiormq.abc.DeliveredMessage
    ) -> None:
        self._note(queue, message.header.properties.message_id or "", digest_of(message.body))
        with suppress(TransportUnavailableError):
            async with translated("the broker"):
                await channel.basic_ack(message.delivery_tag or 0)

    def _note(self, queue: str, message_id: str, digest: Digest) -> None:
        if not message_id:
            self.without_id += 1
        known = self.first[queue].setdefault(message_id, digest)
        if known is not digest:
            self.repeats += 1
            if known != digest:
                self.changed.append(f"{queue} {message_id}")


async def _close(connection: aiormq.abc.AbstractConnection) -> None:
    with suppress(TransportUnavailableError):
        async with translated("the broker"), asyncio.timeout(CONNECT_S_MAX):
            await connection.close()


@asynccontextmanager
async def consuming(url: str, queues: Sequence[str] = QUEUES) -> AsyncIterator[Consumers]:
    """Consumers that read for the time of the block."""
    assert queues
    consumers = Consumers(url)
    task = asyncio.create_task(consumers.run(), name="consumers")
    try:
        yield consumers
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
