"""Publishing to RabbitMQ while queues, exchanges and connections go away."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import aiormq
import pytest

from hub.transports import (
    Binding,
    Confirmed,
    NotConfirmed,
    QueueSpec,
    Topology,
    TransportUnavailableError,
    Unroutable,
)
from hub.transports.rabbit import RabbitTransport, frames
from hub.transports.rabbit.frames import can_write_blocks
from hub.transports.rabbit.intake import attach
from tests.integration.transports.rabbit_parts import Rabbit, Taking, confirmed, consuming, count_of
from tests.support.patience import STILL_S_MAX, until


async def test_a_queue_that_somebody_deleted_comes_back_with_the_next_message(rabbit: Rabbit) -> None:
    transport = await rabbit.ready()
    async with rabbit.raw() as channel:
        await channel.queue_delete(rabbit("orders"))

        await confirmed(transport, [rabbit.message(), rabbit.message()])

        assert await count_of(channel, rabbit("orders")) == 2


async def test_an_exchange_that_somebody_deleted_comes_back_with_the_next_message(rabbit: Rabbit) -> None:
    transport = await rabbit.ready()
    await confirmed(transport, [rabbit.message()])
    async with rabbit.raw() as channel:
        await channel.exchange_delete(rabbit("shop"))

    await confirmed(transport, [rabbit.message(), rabbit.message(key="other")])


async def test_a_message_to_an_exchange_that_nobody_made_hurts_only_itself(rabbit: Rabbit) -> None:
    transport = await rabbit.ready()
    lost = rabbit.message(exchange=rabbit("nowhere"), key="lost")
    others = [rabbit.message(key=str(number)) for number in range(10)]

    results = await transport.publish([*others[:5], lost, *others[5:]])

    refused = results.pop(5)
    assert isinstance(refused, Unroutable)
    assert rabbit("nowhere") in refused.reason
    assert results == [Confirmed()] * 10


async def test_a_message_that_amqp_cannot_carry_hurts_only_itself(rabbit: Rabbit) -> None:
    transport = await rabbit.ready()
    long_key = rabbit.message("orders." + "x" * 300, key="a")
    long_headers = replace(rabbit.message(key="b"), headers={"x": "y" * 200_000})
    fine = rabbit.message(key="c")

    results = await transport.publish([long_key, long_headers, fine])

    assert isinstance(results[0], Unroutable)
    assert isinstance(results[1], Unroutable)
    assert results[2] == Confirmed()


async def test_a_full_queue_refuses_and_nothing_behind_it_counts(rabbit: Rabbit) -> None:
    transport = rabbit.transport()
    full = QueueSpec(
        rabbit("orders"), type="classic", arguments=(("x-max-length", 1), ("x-overflow", "reject-publish"))
    )
    await rabbit.declare(transport, rabbit.topology(orders=full, other=QueueSpec(rabbit("other"))))
    messages = [rabbit.message() for _ in range(5)]

    results = await transport.publish([*messages, rabbit.message("other.paid", key="another")])

    assert results[-1] == Confirmed()
    refused = [result for result in results[:-1] if result != Confirmed()]
    assert refused
    assert isinstance(refused[0], NotConfirmed)
    assert all(isinstance(one, NotConfirmed) and not one.was_tried for one in refused[1:])


async def test_one_message_twice_in_a_call_is_answered_twice(rabbit: Rabbit) -> None:
    transport = rabbit.transport()
    await rabbit.declare(transport, rabbit.topology(orders=QueueSpec(rabbit("orders"))))
    message, lost = rabbit.message(key="a"), rabbit.message("nobody.listens", key="b")

    results = await transport.publish([message, lost, message, replace(lost, key="c")])

    assert [type(result) for result in results] == [Confirmed, Unroutable, Confirmed, Unroutable]


async def test_more_than_fit_in_flight_go_out_in_order(rabbit: Rabbit) -> None:
    transport = await rabbit.ready()
    messages = [rabbit.message() for _ in range(1_203)]
    taking = Taking()

    await confirmed(transport, messages)

    async with consuming(transport, rabbit("orders"), taking.batch):
        await until(lambda: len(taking.seen) == len(messages))
    assert taking.ids == [message.message_id for message in messages]


async def test_a_cut_in_the_middle_loses_nothing_and_keeps_the_order(rabbit: Rabbit) -> None:
    transport = await rabbit.ready()
    messages = [rabbit.message() for _ in range(300)]
    taking = Taking()
    left = list(messages)
    cuts = 0

    async def cut_now_and_then() -> None:
        nonlocal cuts
        while left:
            await asyncio.sleep(0.05)
            if cuts < 5:
                rabbit.proxy.cut()
                cuts += 1

    async with asyncio.timeout(2 * STILL_S_MAX), asyncio.TaskGroup() as group:
        group.create_task(cut_now_and_then())
        while left:
            try:
                results = await transport.publish(left[:20])
            except TransportUnavailableError:
                await asyncio.sleep(0.05)
                continue
            sent = (
                results.index(next(one for one in results if one != Confirmed()))
                if any(one != Confirmed() for one in results)
                else len(results)
            )
            del left[:sent]
    async with consuming(transport, rabbit("orders"), taking.batch):
        await until(lambda: set(taking.ids) == {message.message_id for message in messages})

    assert cuts
    first_seen = list(dict.fromkeys(taking.ids))
    assert first_seen == [message.message_id for message in messages]


async def test_a_broker_that_falls_silent_is_answered_for_in_time(rabbit: Rabbit) -> None:
    transport = await rabbit.ready()
    await confirmed(transport, [rabbit.message()])
    rabbit.proxy.stall()

    async with asyncio.timeout(STILL_S_MAX):
        with pytest.raises(TransportUnavailableError):
            await transport.publish([rabbit.message()], timeout_s=0.5)

    rabbit.proxy.resume()
    await eventually_confirmed(rabbit, transport)


@pytest.mark.parametrize("break_", ["cut", "half_close", "refuse"])
async def test_a_lost_connection_is_no_message_s_fault_and_comes_back(rabbit: Rabbit, break_: str) -> None:
    transport = await rabbit.ready()
    await confirmed(transport, [rabbit.message()])

    getattr(rabbit.proxy, break_)()
    try:
        results = await transport.publish([rabbit.message()], timeout_s=1.0)
    except TransportUnavailableError:
        results = [Confirmed()]

    assert results == [Confirmed()]
    rabbit.proxy.accept()
    await eventually_confirmed(rabbit, transport)


async def test_a_call_that_is_cancelled_ends_as_cancelled(rabbit: Rabbit) -> None:
    transport = await rabbit.ready()
    await confirmed(transport, [rabbit.message()])
    rabbit.proxy.stall()
    call = asyncio.create_task(transport.publish([rabbit.message()], timeout_s=10))
    await asyncio.sleep(0)

    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call


async def test_the_blocks_fall_back_to_public_calls(rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "can_write_blocks", lambda channel: False)
    transport = rabbit.transport()
    await rabbit.declare(transport, rabbit.topology())
    messages = [rabbit.message(key=str(number % 3)) for number in range(50)]
    taking = Taking()

    results = await transport.publish([*messages, rabbit.message("nobody.listens", key="lost")])

    assert results[:-1] == [Confirmed()] * 50
    assert isinstance(results[-1], Unroutable)
    async with consuming(transport, rabbit("orders"), taking.batch):
        await until(lambda: len(taking.seen) == 50)
    assert taking.ids == [message.message_id for message in messages]


async def test_this_version_of_aiormq_has_what_blocks_lean_on(rabbit: Rabbit) -> None:
    async with rabbit.raw() as channel:
        assert can_write_blocks(channel)
        assert attach(channel, lambda _message: None)


async def test_what_a_block_writes_is_what_aiormq_writes(rabbit: Rabbit) -> None:
    transport = rabbit.transport()
    queue = QueueSpec(rabbit("orders"))
    await rabbit.declare(transport, Topology.of([queue], [Binding(rabbit("shop"), queue.name, "#")]))
    message = replace(rabbit.message("заказ"), payload=b"\x00\xff" * 200_000, headers={"x-tên": "Nguyễn"})
    got: list[aiormq.abc.DeliveredMessage] = []

    await confirmed(transport, [message])

    async with rabbit.raw() as channel:

        async def take(delivered: aiormq.abc.DeliveredMessage) -> None:
            got.append(delivered)

        await channel.basic_consume(rabbit("orders"), take, no_ack=True)
        await until(lambda: got)
    properties = got[0].header.properties
    assert got[0].body == message.payload
    assert got[0].routing_key == "заказ"
    assert properties.headers == {"x-tên": "Nguyễn"}
    assert (properties.delivery_mode, properties.message_id) == (2, message.message_id)


async def eventually_confirmed(rabbit: Rabbit, transport: RabbitTransport) -> None:
    async def went() -> bool:
        try:
            return await transport.publish([rabbit.message()], timeout_s=5.0) == [Confirmed()]
        except TransportUnavailableError:
            return False

    await until(went)
