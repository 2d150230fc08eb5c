"""What the tests of RabbitMQ share: a transport behind a proxy, names of their own, and messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from uuid import uuid4

import aiormq
from yarl import URL

from hub.store.store import Store
from hub.transports import Binding, Confirmed, Delivered, OutboundMessage, QueueSpec, Topology
from hub.transports.rabbit import RabbitTransport
from tests.support.proxy import Proxy
from tests.support.rabbit import raw_channel, remove

PREFETCH = 20


@dataclass(slots=True)
class Rabbit:
    """One test's corner of the broker. ``address`` is the broker itself, ``url`` the way through the proxy."""

    address: str
    store: Store
    proxy: Proxy
    suffix: str = field(default_factory=lambda: uuid4().hex[:8])
    declared: list[Topology] = field(default_factory=list)
    opened: list[RabbitTransport] = field(default_factory=list)

    @property
    def url(self) -> str:
        return str(URL(self.address).with_host("127.0.0.1").with_port(self.proxy.port))

    def __call__(self, name: str) -> str:
        return f"{name}.{self.suffix}"

    def transport(self) -> RabbitTransport:
        self.opened.append(RabbitTransport(self.url, self.store, prefetch=PREFETCH))
        return self.opened[-1]

    def topology(self, **queues: QueueSpec) -> Topology:
        """The exchange ``shop`` with these queues bound to everything under their own first word."""
        specs = queues or {"orders": QueueSpec(self("orders"), single_consumer=True)}
        bindings = [Binding(self("shop"), spec.name, f"{word}.#") for word, spec in specs.items()]
        return Topology.of(specs.values(), bindings)

    async def declare(self, transport: RabbitTransport, topology: Topology, *, takes_away: bool = False) -> None:
        self.declared.append(topology)
        await transport.declare(topology, takes_away=takes_away)

    async def ready(self) -> RabbitTransport:
        """A transport with the queue ``orders``."""
        transport = self.transport()
        await self.declare(transport, self.topology())
        return transport

    def message(self, routing_key: str = "orders.paid", *, key: str = "k", exchange: str = "") -> OutboundMessage:
        return OutboundMessage(
            message_id=str(uuid4()),
            exchange=exchange or self("shop"),
            routing_key=routing_key,
            content_type="application/json",
            payload=b"{}",
            headers={},
            key=key,
        )

    def raw(self) -> AbstractAsyncContextManager[aiormq.Channel]:
        """A channel past the proxy and the hub."""
        return raw_channel(self.address)

    async def close(self) -> None:
        for transport in self.opened:
            await transport.close()
        await remove(self.address, self.declared, keep=frozenset({"hub.dead-letters"}))


@dataclass(slots=True)
class Taking:
    """What a consumer has been handed, and how it fares."""

    seen: list[Delivered] = field(default_factory=list)
    proven: list[int] = field(default_factory=list)

    async def batch(self, batch: Sequence[Delivered]) -> None:
        self.seen.extend(batch)

    async def prove(self, tags: Sequence[int]) -> None:
        self.proven.extend(tags)

    @property
    def ids(self) -> list[str]:
        return [one.message_id or "" for one in self.seen]


@asynccontextmanager
async def consuming(
    transport: RabbitTransport,
    queue: str,
    on_batch: Callable[[Sequence[Delivered]], Awaitable[None]],
    *,
    on_proven: Callable[[Sequence[int]], Awaitable[None]] | None = None,
) -> AsyncIterator[None]:
    """Consume for the time of the block."""
    stopping = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(transport.consume(queue, on_batch, stopping=stopping, on_proven=on_proven))
        try:
            yield
        finally:
            stopping.set()


async def confirmed(transport: RabbitTransport, messages: Sequence[OutboundMessage]) -> None:
    assert await transport.publish(messages) == [Confirmed()] * len(messages)


async def count_of(channel: aiormq.Channel, queue: str) -> int:
    return int((await channel.queue_declare(queue, passive=True)).message_count or 0)
