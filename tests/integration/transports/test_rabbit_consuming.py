"""Consuming from RabbitMQ while queues, connections and the inbox go away."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from datetime import UTC, datetime

import pamqp.frame
import pytest
from aiormq.abc import ChannelFrame
from pamqp import commands as spec
from pamqp.body import ContentBody

from hub.transports import Confirmed, Delivered, OutboundMessage, QueueSpec, TransportUnavailableError
from hub.transports.rabbit import RabbitTransport
from hub.transports.rabbit import consuming as module
from hub.transports.rabbit.metrics import RESTORED
from hub.transports.rabbit.objects import arguments_of
from hub.transports.rabbit.properties import UNREADABLE
from tests.integration.transports.rabbit_parts import PREFETCH, Rabbit, Taking, confirmed, consuming, count_of
from tests.support.patience import until


async def test_a_queue_deleted_under_its_consumer_is_made_and_read_again(rabbit: Rabbit) -> None:
    transport = await rabbit.ready()
    taking = Taking()
    queue = rabbit("orders")

    async with consuming(transport, queue, taking.batch):
        await confirmed(transport, [rabbit.message()])
        await until(lambda: len(taking.seen) == 1)
        async with rabbit.raw() as channel:
            await channel.queue_delete(queue)
        await confirmed(transport, [rabbit.message()])
        await until(lambda: len(taking.seen) == 2)

    assert RESTORED.labels(queue=queue)._value.get() == 1


async def test_headers_with_tables_within_tables_do_not_stop_what_comes_behind_them(rabbit: Rabbit) -> None:
    """The broker takes them and hands them out; a reader that calls itself for each of them has no room for so many."""
    transport = await rabbit.ready()
    taking = Taking()
    queue = rabbit("orders")
    table = b""
    for _ in range(2_000):
        table = b"\x01aF" + len(table).to_bytes(4, "big") + table

    async with consuming(transport, queue, taking.batch), rabbit.raw() as channel:
        head = struct.pack(">HHQHI", 60, 0, 2, 1 << 13, len(table)) + table
        envelope = struct.pack(">BHI", 2, channel.number, len(head))
        method, body = spec.Basic.Publish(routing_key=queue), ContentBody(b"{}")
        frames = [pamqp.frame.marshal(method, channel.number), envelope, head, b"\xce"]
        frames.append(pamqp.frame.marshal(body, channel.number))
        await channel.write_queue.put(ChannelFrame(payload=b"".join(frames), should_close=False))
        await confirmed(transport, [rabbit.message()])
        await until(lambda: len(taking.seen) == 2)

    assert UNREADABLE in [one.headers for one in taking.seen]


async def test_a_queue_that_somebody_deleted_and_made_again_is_read_again(
    rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker may forget to cancel the consumer then, and still counts it: only that nothing comes shows it."""
    monkeypatch.setattr(module, "PROBE_S", 0.2)
    monkeypatch.setattr(module, "IDLE_S_MAX", 1.0)
    transport = await rabbit.ready()
    taking = Taking()
    queue = QueueSpec(rabbit("orders"), single_consumer=True)

    async with consuming(transport, queue.name, taking.batch):
        await confirmed(transport, [rabbit.message()])
        await until(lambda: len(taking.seen) == 1)
        async with rabbit.raw() as channel:
            await channel.queue_delete(queue.name)
            await channel.queue_declare(queue.name, durable=True, arguments=arguments_of(queue))
            await channel.basic_publish(b"{}", routing_key=queue.name)
        await until(lambda: len(taking.seen) == 2)


@pytest.mark.parametrize("break_", ["cut", "half_close"])
async def test_a_lost_connection_is_made_again_and_nothing_is_missing(rabbit: Rabbit, break_: str) -> None:
    transport = await rabbit.ready()
    taking = Taking()
    messages = [rabbit.message() for _ in range(120)]

    async with consuming(transport, rabbit("orders"), taking.batch):
        for start in range(0, 120, 40):
            await publish_at_last(transport, messages[start : start + 40])
            await until(lambda start=start: len(set(taking.ids)) > start)  # type: ignore[misc]  # mypy: lambda default
            getattr(rabbit.proxy, break_)()
        await until(lambda: len(set(taking.ids)) == 120)

    wanted = [message.message_id for message in messages]
    assert list(dict.fromkeys(taking.ids)) == wanted


async def test_a_connection_that_swallows_everything_is_given_up(
    rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PROBE_S", 0.2)
    transport = await rabbit.ready()
    taking = Taking()

    async with consuming(transport, rabbit("orders"), taking.batch):
        await confirmed(transport, [rabbit.message()])
        await until(lambda: taking.seen)
        connections = rabbit.proxy.connections
        rabbit.proxy.stall()

        async def is_given_up() -> bool:
            return f"queue {rabbit('orders')}" in await transport.state()

        await until(is_given_up)
        rabbit.proxy.resume()
        await publish_at_last(transport, [rabbit.message()])
        await until(lambda: len(taking.seen) >= 2)

    assert rabbit.proxy.connections > connections


async def test_what_cannot_be_stored_stays_in_hand_and_nothing_loops(rabbit: Rabbit) -> None:
    transport = await rabbit.ready()
    messages = [rabbit.message() for _ in range(PREFETCH * 3)]
    await confirmed(transport, messages)
    tries: list[list[Delivered]] = []
    is_full = True
    stored: list[Delivered] = []

    async def take(batch: Sequence[Delivered]) -> None:
        tries.append(list(batch))
        if is_full:
            raise RuntimeError("the inbox has as much in hand as it may")
        stored.extend(batch)

    async with consuming(transport, rabbit("orders"), take):
        await until(lambda: len(tries) >= 3)
        async with rabbit.raw() as channel:
            waiting = await count_of(channel, rabbit("orders"))
        is_full = False
        await until(lambda: len(stored) == len(messages))

    # The prefetch keeps the rest at the broker, and the broker has handed out nothing twice.
    assert waiting >= len(messages) - PREFETCH
    assert [one.message_id for one in stored] == [message.message_id for message in messages]
    assert {one.headers.get("x-delivery-count") for one in stored} == {None}
    assert [one.message_id for one in tries[0]] == [one.message_id for one in tries[1]]
    assert all(one.redelivered for one in tries[1])


async def test_a_batch_in_hand_while_the_connection_goes_comes_again(rabbit: Rabbit) -> None:
    transport = await rabbit.ready()
    message = rabbit.message()
    await confirmed(transport, [message])
    reached, go_on = asyncio.Event(), asyncio.Event()
    taking = Taking()

    async def slow(batch: Sequence[Delivered]) -> None:
        await taking.batch(batch)
        reached.set()
        await go_on.wait()

    async with consuming(transport, rabbit("orders"), slow, on_proven=taking.prove):
        await reached.wait()
        rabbit.proxy.cut()
        go_on.set()
        await until(lambda: len(taking.seen) == 2)
        await until(lambda: taking.proven)

    first, again = taking.seen
    assert (first.message_id, again.message_id) == (message.message_id, message.message_id)
    assert (first.redelivered, again.redelivered) == (False, True)
    assert first.tag != again.tag
    assert taking.proven == [again.tag]


async def test_an_acknowledgement_is_proven_once_the_broker_has_answered(rabbit: Rabbit) -> None:
    transport = await rabbit.ready()
    await confirmed(transport, [rabbit.message() for _ in range(5)])
    taking = Taking()

    async with consuming(transport, rabbit("orders"), taking.batch, on_proven=taking.prove):
        await until(lambda: len(taking.proven) == 5)

    assert sorted(taking.proven) == [one.tag for one in taking.seen]


async def test_a_broker_that_is_away_at_the_start_is_awaited(rabbit: Rabbit) -> None:
    rabbit.proxy.refuse()
    transport = rabbit.transport()
    with pytest.raises(TransportUnavailableError):
        await rabbit.declare(transport, rabbit.topology())
    taking = Taking()

    async with consuming(transport, rabbit("orders"), taking.batch):

        async def is_told() -> bool:
            return f"queue {rabbit('orders')}" in await transport.state()

        await until(is_told)
        rabbit.proxy.accept()
        await publish_at_last(transport, [rabbit.message()])
        await until(lambda: taking.seen)


async def test_the_words_of_other_senders_are_read(rabbit: Rabbit) -> None:
    transport = await rabbit.ready()
    taking = Taking()
    properties = spec.Basic.Properties(
        headers={
            "x-number": 7,
            "x-flag": True,
            "x-bytes": bytearray(b"\xff\xfe"),
            "x-table": {"a": [1, 2]},
            "x-nothing": None,
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        },
        correlation_id="c-1",
        app_id="till",
        timestamp=datetime(2026, 11, 21, 9, 30, tzinfo=UTC),
    )

    async with consuming(transport, rabbit("orders"), taking.batch), rabbit.raw() as channel:
        await channel.basic_publish(b"<x/>", exchange=rabbit("shop"), routing_key="orders.paid", properties=properties)
        await until(lambda: taking.seen)

    [one] = taking.seen
    assert one.content_type == ""
    assert one.timestamp == datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
    assert one.headers == {
        "x-number": "7",
        "x-flag": "true",
        "x-bytes": "//4=",
        "x-table": '{"a": [1, 2]}',
        "x-nothing": "",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "amqp-correlation-id": "c-1",
        "amqp-app-id": "till",
    }


async def test_an_unordered_queue_is_shared(rabbit: Rabbit) -> None:
    first, second = rabbit.transport(), rabbit.transport()
    await rabbit.declare(first, rabbit.topology(orders=QueueSpec(rabbit("orders"))))
    await second.declare(rabbit.topology(orders=QueueSpec(rabbit("orders"))))
    one, other = Taking(), Taking()

    async with (
        consuming(first, rabbit("orders"), one.batch),
        consuming(second, rabbit("orders"), other.batch),
    ):

        async def both_read() -> bool:
            await confirmed(first, [rabbit.message() for _ in range(4)])
            return bool(one.seen and other.seen)

        await until(both_read)


async def publish_at_last(transport: RabbitTransport, messages: Sequence[OutboundMessage]) -> None:
    """In order, whatever the connection does: repeats are the consumer's to recognise."""

    async def went() -> bool:
        try:
            results = await transport.publish(messages, timeout_s=5.0)
        except TransportUnavailableError:
            return False
        return results == [Confirmed()] * len(messages)

    await until(went)
