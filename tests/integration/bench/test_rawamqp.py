"""The load's own AMQP: what it says is confirmed is in the queue, and what the broker refuses is an error."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest

from benchmarks.rawamqp import BLOCK, WINDOW, RawChannel, connect
from benchmarks.wiring import Names

RABBITMQ = os.environ.get("HUB_TEST_RABBITMQ_URL", "")
pytestmark = pytest.mark.skipif(not RABBITMQ, reason="HUB_TEST_RABBITMQ_URL names no RabbitMQ")


@pytest.fixture
async def channel() -> AsyncIterator[RawChannel]:
    async with connect(RABBITMQ) as connected:
        yield connected


@pytest.fixture
async def queue(channel: RawChannel) -> AsyncIterator[str]:
    name = Names().queue_in
    await channel.declare(name)
    yield name
    async with connect(RABBITMQ) as other:
        await other.delete(queues=[name])


def messages(count: int) -> list[tuple[str, bytes]]:
    return [(f"m{number}", b"body %d" % number) for number in range(count)]


@pytest.mark.parametrize("count", [1, BLOCK - 1, BLOCK, WINDOW + BLOCK + 1])
async def test_what_is_confirmed_is_in_the_queue_in_order(channel: RawChannel, queue: str, count: int) -> None:
    taken: list[bytes] = []

    assert await channel.publish_all(messages(count), routing_key=queue) == count
    assert await channel.depth(queue) == count
    await channel.start_consuming(queue, prefetch=2 * BLOCK)
    await channel.take(count, taken.append, timeout_s=30)

    assert taken == [body for _, body in messages(count)]


async def test_publishing_again_on_the_same_channel_waits_for_its_own_confirms(channel: RawChannel, queue: str) -> None:
    for _ in range(3):
        await channel.publish_all(messages(BLOCK + 1), routing_key=queue)

    assert await channel.depth(queue) == 3 * (BLOCK + 1)


async def test_what_was_acknowledged_does_not_come_again(queue: str) -> None:
    async with connect(RABBITMQ) as first:
        await first.publish_all(messages(3), routing_key=queue)
        await first.start_consuming(queue, prefetch=10)
        await first.take(3, lambda _: None, timeout_s=30)
        # An answer to a later question: the broker has read the acknowledgement before it.
        await first.depth(queue)

    async with connect(RABBITMQ) as second:
        assert await second.depth(queue) == 0


async def test_a_message_that_no_queue_takes_is_an_error(channel: RawChannel) -> None:
    with pytest.raises(RuntimeError, match="refused"):
        await channel.publish_all(messages(1), routing_key="bench.no-such-queue")


async def test_a_queue_that_is_not_there_is_an_error(channel: RawChannel) -> None:
    with pytest.raises(RuntimeError, match="NOT_FOUND"):
        await channel.depth("bench.no-such-queue")
