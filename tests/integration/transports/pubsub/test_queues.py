"""``hub queue`` on Pub/Sub: looking takes messages for a moment and gives them back."""

from __future__ import annotations

import pytest

from hub.errors import UsageError
from hub.transports import QueueReader
from hub.transports.pubsub import PubSubTransport
from tests.integration.transports.pubsub.shop import held, message, published, topology, unkeyed
from tests.support.pubsub_server import PubSubServer


async def test_reading_gives_everything_back_in_order(transport: PubSubTransport, server: PubSubServer) -> None:
    await transport.declare(topology())
    sent = [message(key=f"k{number % 3}", body=str(number).encode()) for number in range(10)]
    await transport.publish(sent)

    shown = await transport.queue_read("orders", limit=100)

    assert isinstance(transport, QueueReader)
    assert [one.message_id for one in shown] == published(server)
    assert {one.message_id: one.payload for one in shown} == {one.message_id: one.payload for one in sent}
    assert held(server).leases == {}
    assert len(held(server).entries) == 10


async def test_following_shows_each_message_once(transport: PubSubTransport) -> None:
    await transport.declare(topology())
    await transport.publish([unkeyed() for _ in range(5)])

    first = await transport.queue_read("orders", limit=3)
    second = await transport.queue_read("orders", limit=3, after_id=first[-1].id)
    third = await transport.queue_read("orders", limit=3, after_id=second[-1].id)

    assert (len(first), len(second), third) == (3, 2, [])
    assert len({one.message_id for one in [*first, *second]}) == 5


async def test_exactly_the_named_messages_are_acknowledged(transport: PubSubTransport, server: PubSubServer) -> None:
    await transport.declare(topology())
    sent = [unkeyed() for _ in range(5)]
    await transport.publish(sent)
    ids = [one.message_id for one in sent]

    assert await transport.queue_ack("orders", [ids[3], "never", ids[1]]) == [ids[3], ids[1]]
    assert await transport.queue_ack("orders", [ids[3]]) == []

    left = await transport.queue_read("orders", limit=10)
    assert [one.message_id for one in left] == [ids[0], ids[2], ids[4]]
    assert held(server).leases == {}


async def test_queues_are_listed_and_an_unknown_one_is_answered_with_the_nearest(
    transport: PubSubTransport, server: PubSubServer
) -> None:
    await transport.declare(topology())
    await transport.publish([unkeyed() for _ in range(3)])

    (only,) = await transport.queue_list()

    assert (only.name, only.messages, only.is_declared) == ("orders", 3, True)
    assert only.oldest_at is not None
    assert held(server).leases == {}
    # Taking it would count as a delivery attempt here.
    held(server).config.dead_letter_policy.dead_letter_topic = "projects/shop/topics/dead"
    assert [one.messages for one in await transport.queue_list()] == [None]
    with pytest.raises(UsageError, match="did you mean 'orders'"):
        await transport.queue_read("order", limit=1)
