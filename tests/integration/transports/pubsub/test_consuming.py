"""Reading a subscription: leases, flow control, streams that end, acknowledgements that get lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import grpc  # type: ignore[import-untyped]
from prometheus_client import REGISTRY

from hub.transports import Delivered, OnBatch
from hub.transports.pubsub import PubSubTransport
from tests.integration.transports.pubsub.conftest import Connect
from tests.integration.transports.pubsub.shop import QUEUE, held, message, topology, unkeyed
from tests.support.patience import STILL_S_MAX
from tests.support.pubsub_server import PubSubServer
from tests.support.pubsub_server.subscriptions import Limits, PubsubMessage
from tests.support.running import until


@asynccontextmanager
async def reading(
    transport: PubSubTransport, on_batch: OnBatch, *, queue: str = QUEUE, batch_size: int = 100
) -> AsyncIterator[asyncio.Task[None]]:
    stopping = asyncio.Event()
    task = asyncio.create_task(transport.consume(queue, on_batch, stopping=stopping, batch_size=batch_size))
    try:
        yield task
    finally:
        stopping.set()
        async with asyncio.timeout(STILL_S_MAX):
            await asyncio.gather(task, return_exceptions=True)


class Taking:
    """Takes batches, one message after the other, and stops in front of a gate."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.seen: list[Delivered] = []
        self.taken: list[Delivered] = []
        self.gate = asyncio.Event()
        if is_open:
            self.gate.set()

    async def __call__(self, batch: Sequence[Delivered]) -> None:
        self.seen.extend(batch)
        await self.gate.wait()
        self.taken.extend(batch)

    def ids(self) -> list[str | None]:
        return [one.message_id for one in self.taken]


_numbers = count(1_000)


def is_empty(server: PubSubServer, queue: str = QUEUE) -> bool:
    return not held(server, queue).entries


async def test_no_more_is_in_hand_than_was_asked_for(connect: Connect, server: PubSubServer) -> None:
    transport = connect(outstanding_messages=20)
    await transport.declare(topology())
    await transport.publish([unkeyed() for _ in range(100)])
    taking = Taking(is_open=False)
    most = 0

    async with reading(transport, taking, batch_size=10):
        await until(lambda: len(held(server).leases) == 20)
        taking.gate.set()

        def is_done() -> bool:
            nonlocal most
            most = max(most, len(held(server).leases))
            return is_empty(server)

        await until(is_done)

    assert most == 20
    assert len(set(taking.ids())) == len(taking.taken) == 100


async def test_a_batch_in_hand_keeps_its_leases(connect: Connect, server: PubSubServer) -> None:
    # A lease of 10 s lasts 4 s here: it would be over before it is extended for the second time.
    server.faults.deadline_scale = 0.4
    transport = connect(ack_deadline_s=10)
    await transport.declare(topology())
    await transport.publish([message()])
    taking = Taking(is_open=False)

    async with reading(transport, taking):
        await until(lambda: len(taking.seen) == 1)
        await until(lambda: len(server.requests("ModifyAckDeadline")) >= 2)
        assert next(iter(held(server).entries.values())).attempts == 1
        taking.gate.set()
        await until(lambda: is_empty(server))

    assert len(taking.taken) == 1


async def test_what_a_dead_process_had_in_hand_comes_back_after_its_lease(
    connect: Connect, server: PubSubServer
) -> None:
    server.faults.deadline_scale = 0.05
    dead, alive = connect(ack_deadline_s=10), connect()
    await dead.declare(topology())
    await dead.publish([message(), message()])
    taking = Taking(is_open=False)
    stuck = asyncio.create_task(dead.consume(QUEUE, taking, stopping=asyncio.Event()))
    await until(lambda: len(taking.seen) == 2)
    # The machine is gone: nothing is given back, extended or ended in order.
    server.faults.fail("ModifyAckDeadline", times=None)
    await dead.close()
    taker = Taking()

    async with reading(alive, taker):
        await until(lambda: is_empty(server))

    stuck.cancel()
    await asyncio.gather(stuck, return_exceptions=True)
    assert taker.ids() == [one.message_id for one in taking.seen]
    assert [one.tag for one in taker.taken] == [one.tag for one in taking.seen]


async def test_a_stream_that_ends_is_opened_again(transport: PubSubTransport, server: PubSubServer) -> None:
    await transport.declare(topology())
    taking = Taking()

    async with reading(transport, taking):
        for code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, None):
            await until(lambda: server.streams_open == 1)
            server.cut_streams(code)
            await transport.publish([message()])
            await until(lambda: is_empty(server))

    assert len(taking.taken) == 3


async def test_a_server_that_restarts_finds_its_consumer_back(transport: PubSubTransport, server: PubSubServer) -> None:
    await transport.declare(topology())
    taking = Taking()

    async with reading(transport, taking):
        for _ in range(3):
            await until(lambda: server.streams_open == 1)
            await server.stop()
            await server.start()
            held(server).add(10_000 + len(taking.taken), _stored(f"m-{len(taking.taken)}"))
            await until(lambda: is_empty(server))

    assert taking.ids() == ["m-0", "m-1", "m-2"]


async def test_lost_acknowledgements_bring_the_same_tags_again(
    transport: PubSubTransport, server: PubSubServer
) -> None:
    await transport.declare(topology())
    await transport.publish([message(), message()])
    taking = Taking()
    server.faults.drops_acks = True

    async with reading(transport, taking):
        await until(lambda: len(server.requests("Acknowledge")) >= 1)
        server.faults.clear()
        held(server).expire_all()
        await until(lambda: is_empty(server))

    assert [one.tag for one in taking.taken[:2]] == [one.tag for one in taking.taken[2:]]


async def test_an_acknowledgement_without_an_answer_is_sent_again(
    transport: PubSubTransport, server: PubSubServer
) -> None:
    await transport.declare(topology())
    await transport.publish([message()])
    fault = server.faults.fail("Acknowledge", times=2)
    taking = Taking()

    async with reading(transport, taking):
        await until(lambda: is_empty(server))

    assert fault.met == 2
    assert len(taking.taken) == 1


async def test_a_stale_ack_id_of_an_exactly_once_subscription_costs_its_neighbours_nothing(
    connect: Connect, server: PubSubServer
) -> None:
    transport = connect(exactly_once=True)
    await transport.declare(topology())
    sent = [unkeyed() for _ in range(3)]
    await transport.publish(sent)
    taking = Taking(is_open=False)
    before = _count("confirmed"), _count("stale")

    async with reading(transport, taking, batch_size=3):
        await until(lambda: len(taking.seen) == 3)
        subscription = held(server)
        second = next(one for one in subscription.leases.values() if one.entry.place == 2)
        # Its lease ran out unseen, and another reader has it in hand: only that one may acknowledge now.
        subscription._take_back(second.entry)
        stolen = subscription.hand_out(object(), Limits(), 600.0)
        taking.gate.set()
        await until(lambda: len(subscription.entries) == 1)
        await until(lambda: (_count("confirmed"), _count("stale")) == (before[0] + 2, before[1] + 1))

    assert [one.ack_id for one in stolen] == [one.ack_id for one in subscription.leases.values()]


async def test_a_message_that_comes_again_while_in_hand_is_handed_over_once(
    connect: Connect, server: PubSubServer
) -> None:
    transport = connect(exactly_once=True)
    await transport.declare(topology())
    await transport.publish([message()])
    taking = Taking(is_open=False)

    async with reading(transport, taking):
        await until(lambda: len(taking.seen) == 1)
        held(server).expire_all()
        await until(lambda: held(server).entries and next(iter(held(server).entries.values())).attempts == 2)
        taking.gate.set()
        # The newer ack id is the valid one.
        await until(lambda: is_empty(server))

    assert len(taking.taken) == 1


async def test_what_the_patterns_exclude_is_acknowledged_and_counted(
    transport: PubSubTransport, server: PubSubServer
) -> None:
    await transport.declare(topology("order.*"))
    held(server).add(1, _stored("theirs", routing_key="card.lost"))
    held(server).add(2, _stored("ours", routing_key="order.paid"))
    before = REGISTRY.get_sample_value("hub_pubsub_excluded_total", {"queue": QUEUE}) or 0.0
    taking = Taking()

    async with reading(transport, taking):
        await until(lambda: is_empty(server))

    assert taking.ids() == ["ours"]
    assert REGISTRY.get_sample_value("hub_pubsub_excluded_total", {"queue": QUEUE}) == before + 1


async def test_a_database_that_is_away_costs_no_delivery_attempt(
    transport: PubSubTransport, server: PubSubServer
) -> None:
    await transport.declare(topology())
    await transport.publish([message()])
    tries = 0

    async def take(batch: Sequence[Delivered]) -> None:
        nonlocal tries
        tries += 1
        if tries < 4:
            raise ConnectionError("the database is away")

    async with reading(transport, take):
        await until(lambda: tries == 4)
        await until(lambda: is_empty(server))

    assert [
        one.ack_deadline_seconds for one in server.requests("ModifyAckDeadline") if not one.ack_deadline_seconds
    ] == []


async def test_a_key_is_kept_in_order_by_two_consumers(connect: Connect, server: PubSubServer) -> None:
    first, second = connect(outstanding_messages=4), connect(outstanding_messages=4)
    await first.declare(topology())
    await second.declare(topology())
    sent = [message(key=f"customer {number % 5}") for number in range(100)]
    await first.publish(sent)
    arrived: list[str | None] = []

    async def take(batch: Sequence[Delivered]) -> None:
        await asyncio.sleep(0)
        arrived.extend(one.message_id for one in batch)

    async with reading(first, take, batch_size=3), reading(second, take, batch_size=3):
        await until(lambda: is_empty(server))

    for number in range(5):
        mine = [one.message_id for one in sent if one.key == f"customer {number}"]
        assert [one for one in arrived if one in set(mine)] == mine


async def test_a_message_of_a_foreign_sender_needs_no_attributes(
    transport: PubSubTransport, server: PubSubServer
) -> None:
    await transport.declare(topology())
    bare = _stored("x")
    bare.ClearField("attributes")
    bare.data = b"plain"
    held(server).add(1, bare)
    taking = Taking()

    async with reading(transport, taking):
        await until(lambda: is_empty(server))

    (arrived,) = taking.taken
    assert (arrived.message_id, arrived.routing_key, arrived.payload) == (None, "", b"plain")
    assert arrived.tag == int(bare.message_id)


def _stored(message_id: str, *, routing_key: str = "order.paid") -> Any:
    return PubsubMessage(
        data=b"{}",
        attributes={"message_id": message_id, "routing_key": routing_key},
        message_id=str(next(_numbers)),
    )


def _count(result: str) -> float:
    labels = {"queue": QUEUE, "result": result}
    return REGISTRY.get_sample_value("hub_pubsub_acknowledged_total", labels) or 0.0
