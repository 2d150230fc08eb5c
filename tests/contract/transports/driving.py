"""Driving a transport in tests: names of one's own, taking what arrives, waiting with a bound."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import uuid4

import pytest

from hub.transports import Ability, Binding, Delivered, OutboundMessage, QueueSpec, Topology, Transport
from tests.support import patience

DEADLINE_S = patience.STILL_S_MAX
QUIET_S = 0.8
"""How long nothing must come for a queue to count as empty: longer than any transport's own poll."""


@dataclass(slots=True)
class Names:
    """Names of one test, so that tests may share a broker."""

    suffix: str = field(default_factory=lambda: uuid4().hex[:8])

    def __call__(self, name: str) -> str:
        return f"{name}.{self.suffix}"

    def topology(self, **patterns: str) -> Topology:
        """One exchange called ``shop`` with queues bound to it, each by one pattern."""
        bindings = [Binding(self("shop"), self(queue), pattern) for queue, pattern in patterns.items()]
        queues = [QueueSpec(self(queue), single_consumer=True) for queue in patterns]
        return Topology.of(queues, bindings)

    def message(self, routing_key: str = "order.paid", *, key: str = "k", body: bytes = b"{}") -> OutboundMessage:
        return OutboundMessage(
            message_id=str(uuid4()),
            exchange=self("shop"),
            routing_key=routing_key,
            content_type="application/json",
            payload=body,
            headers={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
            key=key,
        )


def needs(transport: Transport, ability: Ability) -> None:
    """Skip the test for a transport that does not declare the ability."""
    if ability not in transport.abilities:
        pytest.skip(f"does not declare {ability}")


def ids(arrived: Sequence[Delivered]) -> list[str]:
    return [one.message_id or "" for one in arrived]


def collect(into: list[Delivered]) -> Callable[[Sequence[Delivered]], Awaitable[None]]:
    async def take(batch: Sequence[Delivered]) -> None:
        into.extend(batch)

    return take


@asynccontextmanager
async def consuming(
    transport: Transport,
    queue: str,
    on_batch: Callable[[Sequence[Delivered]], Awaitable[None]],
    *,
    batch_size: int = 100,
) -> AsyncIterator[None]:
    """Consume while the block runs, and stop in order."""
    stopping = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(transport.consume(queue, on_batch, stopping=stopping, batch_size=batch_size))
        try:
            yield
        finally:
            stopping.set()
            await asyncio.wait({task}, timeout=DEADLINE_S)
            assert task.done(), "it goes on consuming after it was told to stop"


async def received(transport: Transport, queue: str, count: int) -> list[Delivered]:
    """Take this many from the queue and acknowledge them."""
    arrived: list[Delivered] = []
    async with consuming(transport, queue, collect(arrived)):
        await until(lambda: len(arrived) >= count)
    return arrived


async def left(transport: Transport, queue: str) -> list[Delivered]:
    """What else is in the queue, once nothing has come for a while."""
    arrived: list[Delivered] = []
    async with consuming(transport, queue, collect(arrived)):
        await asyncio.sleep(QUIET_S)
    return arrived


async def until(condition: Callable[[], bool]) -> None:
    await patience.until(condition, deadline_s=DEADLINE_S)
