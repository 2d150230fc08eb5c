"""Google Pub/Sub behind the interface of all transports. The parts do the work; this says which does what."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final
from uuid import uuid4

from google.api_core.exceptions import GoogleAPICallError

from hub.clock import Clock
from hub.transports.base import (
    CONSUME_BATCH_MAX,
    PUBLISH_TIMEOUT_S,
    Ability,
    OnBatch,
    OnProven,
    OutboundMessage,
    PlanItem,
    PublishResult,
    TransportUnavailableError,
)
from hub.transports.pubsub.address import PubSubAddress
from hub.transports.pubsub.clients import ClientsOnce, within
from hub.transports.pubsub.consumer import Consumer
from hub.transports.pubsub.declaring import Declaring
from hub.transports.pubsub.layout import Layout
from hub.transports.pubsub.publishing import Sending, parcel_of, trains_of
from hub.transports.pubsub.queues import PubSubQueues
from hub.transports.pubsub.reach import WATCH_S, Reach
from hub.transports.pubsub.standing import Standing
from hub.transports.topology import Topology

HEALTH_S_MAX: Final = 3.0


class PubSubTransport(PubSubQueues):
    """One project of Google Pub/Sub. Nothing is connected before the first call.

    Publishing and consuming follow the last ``declare`` of this object; before it, exchanges are topics by their own
    names and subscriptions are read as they are.
    """

    abilities = frozenset(
        {Ability.ORDERS_PER_KEY, Ability.HALTS_KEY, Ability.REFUSES_MISMATCH, Ability.STABLE_TAGS},
    )

    def __init__(self, address: PubSubAddress, clock: Clock, *, watch_s: float = WATCH_S) -> None:
        clients = ClientsOnce(address)
        super().__init__(address, clients)
        self._clock = clock
        self._reach = Reach(address, clients, watch_s=watch_s)
        self._standing = Standing(address, clients, self._reach)
        self._client_id = str(uuid4())

    async def declare(self, topology: Topology, *, takes_away: bool = False) -> None:
        """Make topics and subscriptions exist, or check that they do (``create=no``).

        A subscription that is no longer named stays, with what it holds, and goes on gathering. Raises ConfigError with
        both sides of every difference; TransportUnavailableError when Pub/Sub is away: the first topology is then
        declared as soon as it answers, before anything is published or read.
        """
        await self._standing.declare(Layout.of(topology))

    async def plan(self, topology: Topology) -> list[PlanItem]:
        """Compare, and make nothing. Raises TransportUnavailableError."""
        return await Declaring(self._address, await self._clients.get(), Layout.of(topology), self._reach).plan()

    async def publish(
        self, messages: Sequence[OutboundMessage], *, timeout_s: float = PUBLISH_TIMEOUT_S
    ) -> list[PublishResult]:
        """One request per topic and key at a time. What nobody would get is Unroutable, as far as the hub knows."""
        if not messages:
            return []
        end = asyncio.get_running_loop().time() + timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                layout = await self._standing.ready()
                topics = [layout.topic_of(message.exchange, message.routing_key) for message in messages]
                await self._reach.refresh(topics)
        except TimeoutError as error:
            raise TransportUnavailableError("Google Pub/Sub did not answer in time") from error
        sending = Sending(await self._clients.get(), self._clock, len(messages))
        parcels = [
            (self._address.topic(topic), parcel_of(place, message, self._problem(layout, topic, message)))
            for place, (topic, message) in enumerate(zip(topics, messages, strict=True))
        ]
        await sending.send(trains_of(parcels), max(0.0, end - asyncio.get_running_loop().time()))
        return sending.results

    def _problem(self, layout: Layout, topic: str, message: OutboundMessage) -> str | None:
        return self._reach.problem(layout, topic, message.exchange, message.routing_key)

    async def consume(
        self,
        queue: str,
        on_batch: OnBatch,
        *,
        stopping: asyncio.Event,
        batch_size: int = CONSUME_BATCH_MAX,
        on_proven: OnProven | None = None,
    ) -> None:
        """Hand out the subscription's messages; several consumers share them, a key with one of them at a time.

        When ``on_batch`` raises, the batch is kept and handed over again after a pause, for ten minutes at most.
        """
        if not await self._standing.ready_unless(stopping, self._clock):
            return
        consumer = Consumer(
            self._address,
            await self._clients.get(),
            self._clock,
            queue,
            client_id=self._client_id,
            takes=lambda routing_key: self._standing.layout.takes(queue, routing_key),
        )
        await consumer.run(on_batch, stopping=stopping, batch_size=batch_size)

    async def healthy(self) -> bool:
        """Whether Pub/Sub answers, and every topic that the hub publishes to has somebody who reads it."""
        try:
            async with asyncio.timeout(HEALTH_S_MAX):
                await self._ask()
                topics = (await self._standing.ready()).topics
                await self._reach.refresh(topics)
        except (TransportUnavailableError, TimeoutError):
            return False
        return not self._reach.bare(topics)

    async def state(self) -> str:
        """Whether it answers, and which topics nobody reads."""
        if await self.healthy():
            return f"project {self._address.project} answers"
        if bare := self._reach.bare(self._standing.layout.topics):
            return f"without a subscription: {', '.join(bare)}"
        return self._standing.refusal or "Google Pub/Sub does not answer"

    async def _ask(self) -> None:
        """Any answer will do, "no such topic" too. Raises TransportUnavailableError."""
        publisher = (await self._clients.get()).publisher
        with suppress(GoogleAPICallError):
            async with within(HEALTH_S_MAX):
                await publisher.get_topic(topic=self._address.topic("health"), retry=None, timeout=HEALTH_S_MAX)

    async def close(self) -> None:
        """Close the channels. What was in hand comes again when its lease is over."""
        await self._clients.close()
