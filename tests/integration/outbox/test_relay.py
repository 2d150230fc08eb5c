"""What the relay does with messages that go, that are refused, and that nobody takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import insert, select

from hub.outbox.verdicts import BACKOFF_S_FIRST, BACKOFF_S_MAX, backoff_s
from hub.routing import DestinationConfig, load_text
from hub.store import tables as t
from hub.store.store import FencedError, Store
from hub.transports import LocalTransport, OutboundMessage, topology_of
from tests.integration.outbox.bench import DRAIN_S, LONG_S, Bench, sent, until
from tests.integration.outbox.broker import Crash, Fate, ScriptedBroker
from tests.support.clock import SettableClock


async def test_messages_are_sent_in_order_and_marked(bench: Bench) -> None:
    ids = await bench.put("anna", "bert", "anna", "anna", "bert")
    relay = await bench.relay()

    await relay.drain(DRAIN_S)

    assert bench.broker.ids() == ids
    assert await bench.states() == sent(ids)
    assert (await bench.row(ids[0])).sent_at == bench.clock.now()


async def test_what_waits_for_a_delivery_goes_on_once_its_own_messages_have_left(bench: Bench) -> None:
    ids = await bench.put("anna", "bert")
    # Each is of a delivery of its own, with a further key that others wait at.
    barriers = [{"chain": 70 + number, "delivery_id": number} for number in (1, 2)]
    await bench.store.write(lambda conn: conn.execute(insert(t.barriers), barriers))
    bench.broker.fate = once(ids[1], "nack")
    relay = await bench.relay()

    await relay.drain(DRAIN_S)

    async with bench.store.reading() as conn:
        assert (await conn.scalars(select(t.barriers.c.delivery_id))).all() == [2]


async def test_a_message_leaves_byte_for_byte_for_its_exchange(bench: Bench) -> None:
    (message_id,) = await bench.put("anna", to="bank", body=b"\x00\xff{ }")
    relay = await bench.relay()

    await relay.drain(DRAIN_S)

    assert bench.broker.arrived == [
        OutboundMessage(
            message_id=message_id,
            exchange="bank.events",
            routing_key="order.paid",
            content_type="application/json",
            payload=b"\x00\xff{ }",
            headers={"traceparent": "00-1-1-01"},
            key="anna",
        )
    ]


async def test_after_a_refusal_everything_of_the_chain_from_there_on_is_sent_again(bench: Bench) -> None:
    ids = await bench.put("anna", "anna", "anna", "bert")
    bench.broker.fate = once(ids[1], "nack")
    relay = await bench.relay()

    await relay.drain(DRAIN_S)

    assert bench.broker.ids() == [ids[0], ids[3]]
    assert await bench.states() == {ids[0]: "sent", ids[1]: "waiting", ids[2]: "waiting", ids[3]: "sent"}
    assert (await bench.row(ids[1])).attempts == 1
    assert (await bench.row(ids[1])).reason == "refused: the queue is full"
    assert (await bench.row(ids[2])).attempts == 0

    bench.clock.advance(LONG_S)
    await relay.drain(DRAIN_S)

    assert bench.broker.ids("anna") == ids[:3]
    assert await bench.states() == sent(ids)
    assert await bench.blocked() == []


async def test_what_was_confirmed_behind_a_refused_one_is_sent_again(store: Store, clock: SettableClock) -> None:
    bench = Bench(store, clock, ScriptedBroker(halts=False))
    ids = await bench.put("anna", "anna", "anna")
    bench.broker.fate = once(ids[1], "nack")
    relay = await bench.relay()

    await bench.settle(relay)

    assert bench.broker.ids() == [ids[0], ids[2], ids[1], ids[2]]
    assert await bench.states() == sent(ids)


async def test_a_chain_that_backs_off_waits_longer_each_time(bench: Bench) -> None:
    (message_id,) = await bench.put("anna")
    bench.broker.fate = lambda message: "nack"
    relay = await bench.relay()
    waits: list[timedelta] = []

    for _ in range(9):
        await relay.drain(DRAIN_S)
        (block,) = await bench.blocked()
        waits.append(block.next_at - bench.clock.now())
        bench.clock.set(block.next_at)

    assert [wait.total_seconds() for wait in waits] == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]
    assert (await bench.row(message_id)).attempts == 9


def test_back_off_has_a_first_and_a_longest() -> None:
    assert backoff_s(1) == BACKOFF_S_FIRST
    assert backoff_s(10_000) == BACKOFF_S_MAX


async def test_a_message_that_nobody_takes_parks_its_chain_alone(bench: Bench) -> None:
    ids = await bench.put("anna", "anna", "bert", "anna", "bert")
    bench.broker.fate = always(ids[1], "unroutable")
    relay = await bench.relay()

    await bench.settle(relay)
    later = await bench.put("anna", "bert")
    await bench.settle(relay)

    assert bench.broker.ids() == [ids[0], ids[2], ids[4], later[1]]
    states = await bench.states()
    assert states[ids[1]] == "parked"
    assert (await bench.row(ids[1])).reason == "no queue is bound"
    assert states[ids[3]] == states[later[0]] == "waiting"
    assert [block.state for block in await bench.blocked()] == ["parked"]


async def test_one_key_at_two_destinations_is_two_chains(bench: Bench) -> None:
    (at_shop,) = await bench.put("anna", to="shop")
    (at_bank,) = await bench.put("anna", to="bank")
    bench.broker.fate = always(at_shop, "unroutable")
    relay = await bench.relay()

    await bench.settle(relay)

    assert await bench.states() == {at_shop: "parked", at_bank: "sent"}


async def test_a_destination_that_is_no_longer_declared_parks_its_messages(bench: Bench) -> None:
    ids = await bench.put("anna", "anna", to="bank")
    (other,) = await bench.put("anna", to="shop")
    del bench.destinations["bank"]
    relay = await bench.relay()

    await bench.settle(relay)

    assert await bench.states() == {ids[0]: "parked", ids[1]: "waiting", other: "sent"}
    assert (await bench.row(ids[0])).reason == "destination 'bank' is not in routing.yaml"


async def test_while_the_broker_is_away_nothing_is_held_against_messages(bench: Bench) -> None:
    ids = await bench.put("anna", "bert")
    bench.broker.fate = always(ids[1], "down")
    relay = await bench.relay(sweep_s=0.01)
    running = asyncio.create_task(relay.run())

    async def has_paused_thrice() -> bool:
        return len(bench.broker.calls) >= 3 and relay.paused_because == "connection lost"

    await until(has_paused_thrice)
    assert await bench.states() == dict.fromkeys(ids, "ready")
    assert [(await bench.row(one)).attempts for one in ids] == [0, 0]

    async def is_sent() -> bool:
        return await bench.states() == sent(ids)

    bench.broker.fate = lambda message: "confirm"
    await until(is_sent)
    relay.stop()
    await running
    assert relay.paused_because is None


async def test_a_broker_that_does_not_answer_counts_as_away(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.outbox.relay.ANSWER_GRACE_S", 0.05)
    ids = await bench.put("anna")
    bench.broker.fate = lambda message: "hang"
    relay = await bench.relay(publish_timeout_s=0.05)

    assert not await relay.drain(DRAIN_S)

    assert await bench.states() == dict.fromkeys(ids, "ready")


async def test_a_message_that_the_transport_chokes_on_holds_up_its_own_chain_alone(bench: Bench) -> None:
    ids = await bench.put("anna", "bert", "anna", "carl")
    bench.broker.fate = always(ids[0], "raise")
    relay = await bench.relay()

    await relay.drain(DRAIN_S)

    assert await bench.states() == {ids[0]: "waiting", ids[1]: "sent", ids[2]: "waiting", ids[3]: "sent"}
    assert (await bench.row(ids[0])).reason == "the transport raised ValueError"


async def test_a_crash_between_publishing_and_marking_sends_the_same_ids_again(bench: Bench) -> None:
    ids = await bench.put("anna", "anna", "anna")
    bench.broker.at_the_end = crash
    first = await bench.relay()
    with pytest.raises(Crash):
        await first.drain(DRAIN_S)
    assert await bench.states() == dict.fromkeys(ids, "ready")

    bench.broker.at_the_end = None
    second = await bench.relay()
    await second.drain(DRAIN_S)

    assert bench.broker.ids() == ids + ids
    assert await bench.states() == sent(ids)


async def test_only_what_was_confirmed_is_marked_never_what_lies_between(bench: Bench) -> None:
    first = await bench.put("anna", "bert")
    late: list[str] = []

    async def store_more() -> None:
        # While the batch is on its way, more of the same chains is committed; also with numbers in between.
        if not late:
            late.extend(await bench.put("anna", "bert", "carl"))

    bench.broker.before = store_more
    bench.broker.fate = once(first[0], "nack")
    relay = await bench.relay(batch_size=2)
    running = asyncio.create_task(relay.run())

    async def is_on_its_way() -> bool:
        return bool(late)

    await until(is_on_its_way)
    relay.stop()
    await running

    assert await bench.states() == {first[0]: "waiting", first[1]: "sent"} | dict.fromkeys(late, "ready")

    await bench.settle(relay)
    assert await bench.states() == sent([*first, *late])
    assert bench.broker.ids("anna") == [first[0], late[0]]


async def test_a_relay_whose_lanes_were_taken_marks_nothing(bench: Bench) -> None:
    ids = await bench.put("anna", "anna")
    old = await bench.relay()
    new = await bench.relay()

    with pytest.raises(FencedError):
        await old.drain(DRAIN_S)
    assert await bench.states() == dict.fromkeys(ids, "ready")

    await new.drain(DRAIN_S)
    assert bench.broker.ids() == ids + ids
    assert await bench.states() == sent(ids)


async def test_a_destination_bounds_what_is_in_flight(bench: Bench) -> None:
    bench.destinations["bank"] = DestinationConfig(exchange="bank.events", max_in_flight=3)
    slow = await bench.put(*(f"key {number}" for number in range(10)), to="bank")
    fast = await bench.put(*(f"key {number}" for number in range(10)), to="shop")
    relay = await bench.relay()

    await relay.drain(DRAIN_S)

    assert max(sum(one.exchange == "bank.events" for one in call) for call in bench.broker.calls) == 3
    assert await bench.states() == sent([*slow, *fast])


async def test_a_batch_is_bounded_in_bytes_and_one_large_message_still_goes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.outbox.picker.BATCH_BYTES_MAX", 1_000)
    ids = await bench.put("anna", "bert", body=b"x" * 600) + await bench.put("carl", body=b"x" * 5_000)
    relay = await bench.relay()

    await relay.drain(DRAIN_S)

    assert [len(call) for call in bench.broker.calls] == [1, 1, 1]
    assert await bench.states() == sent(ids)


async def test_one_hot_key_goes_out_in_batches(bench: Bench) -> None:
    ids = await bench.put(*["anna"] * 100)
    relay = await bench.relay(batch_size=50)

    await relay.drain(DRAIN_S)

    assert bench.broker.ids() == ids
    assert len(bench.broker.calls) == 2


async def test_a_running_relay_sends_what_it_is_told_of_and_stops(bench: Bench) -> None:
    relay = await bench.relay(sweep_s=0.02)
    running = asyncio.create_task(relay.run())

    ids = await bench.put("anna", "bert", "carl")

    async def is_sent() -> bool:
        bench.clock.advance(0.1)
        return await bench.states() == sent(ids)

    await until(is_sent)
    relay.stop()

    async with asyncio.timeout(DRAIN_S):
        await running


async def test_the_embedded_queues_get_what_the_relay_sends(bench: Bench) -> None:
    routing = load_text(ROUTING, environ={})
    bench.destinations = dict(routing.config.destinations)
    transport = LocalTransport(bench.store, bench.clock)
    await transport.declare(topology_of(routing.config))
    ids = await bench.put("anna", "bert", "anna")
    relay = await bench.relay(transport)

    assert await relay.drain(DRAIN_S)

    assert [one.message_id for one in await transport.queue_read("shop", limit=10)] == ids
    assert await bench.states() == sent(ids)


ROUTING = """
version: 1
destinations:
  shop: { queue: shop }
"""


def always(message_id: str, fate: Fate) -> Callable[[OutboundMessage], Fate]:
    return lambda message: fate if message.message_id == message_id else "confirm"


def once(message_id: str, fate: Fate) -> Callable[[OutboundMessage], Fate]:
    fates: list[Fate] = [fate]
    return lambda message: fates.pop() if message.message_id == message_id and fates else "confirm"


def crash() -> None:
    raise Crash
