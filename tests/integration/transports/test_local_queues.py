"""The embedded queues as people and programs see them: list, read, follow, acknowledge, declare anew."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import event

from hub.errors import ConfigError, UsageError
from hub.store.store import Store
from hub.transports import (
    Binding,
    Confirmed,
    Delivered,
    LocalQueues,
    LocalTransport,
    OutboundMessage,
    QueueReader,
    QueueSpec,
    Topology,
    Unroutable,
    local,
    local_statements,
    open_transport,
)
from tests.support.clock import SettableClock

CUTS = 60
CUT_STEP_S = 0.0003


@pytest.fixture
async def broker(store: Store, clock: SettableClock) -> LocalTransport:
    transport = LocalTransport(store, clock)
    await transport.declare(bound(orders="order.#", refunds="order.refunded"))
    return transport


def bound(**patterns: str) -> Topology:
    return Topology.of(
        [QueueSpec(queue) for queue in patterns],
        [Binding("shop", queue, pattern) for queue, pattern in patterns.items()],
    )


def message(message_id: str, routing_key: str = "order.paid", *, exchange: str = "shop") -> OutboundMessage:
    return OutboundMessage(
        message_id=message_id,
        exchange=exchange,
        routing_key=routing_key,
        content_type="application/json",
        payload=b'{"n": 1}',
        headers={"x": "y"},
        key=message_id,
    )


async def test_queues_are_listed_with_what_they_hold(broker: LocalTransport, clock: SettableClock) -> None:
    oldest = clock.now()
    await broker.publish([message("1")])
    clock.advance(60)
    await broker.publish([message("2")])

    orders, refunds = await broker.queue_list()

    assert (orders.name, orders.messages, orders.oldest_at, orders.is_declared) == ("orders", 2, oldest, True)
    assert (refunds.name, refunds.messages, refunds.oldest_at) == ("refunds", 0, None)


async def test_reading_leaves_messages_where_they_are(broker: LocalTransport, clock: SettableClock) -> None:
    await broker.publish([message(str(number)) for number in range(5)])

    first = await broker.queue_read("orders", limit=3)

    assert [one.message_id for one in first] == ["0", "1", "2"]
    assert first[0].payload == b'{"n": 1}'
    assert first[0].headers == {"x": "y"}
    assert (first[0].routing_key, first[0].published_at, first[0].deliveries) == ("order.paid", clock.now(), 0)
    assert await broker.queue_read("orders", limit=3) == first


async def test_a_queue_is_followed_by_asking_behind_the_last_message(broker: LocalTransport) -> None:
    await broker.publish([message("1"), message("2")])
    last = (await broker.queue_read("orders", limit=10))[-1]
    assert await broker.queue_read("orders", limit=10, after_id=last.id) == []

    await broker.publish([message("3")])

    assert [one.message_id for one in await broker.queue_read("orders", limit=10, after_id=last.id)] == ["3"]


async def test_exactly_the_named_messages_are_acknowledged(broker: LocalTransport) -> None:
    await broker.publish([message("1", "order.refunded"), message("2"), message("3")])

    assert await broker.queue_ack("orders", ["3", "1", "nobody's"]) == ["3", "1"]
    assert await broker.queue_ack("orders", ["3", "1"]) == []

    assert [one.message_id for one in await broker.queue_read("orders", limit=10)] == ["2"]
    assert [one.message_id for one in await broker.queue_read("refunds", limit=10)] == ["1"]


async def test_an_unknown_queue_is_answered_with_the_nearest(broker: LocalTransport) -> None:
    with pytest.raises(UsageError, match="there is no queue 'ordres'; did you mean 'orders'"):
        await broker.queue_read("ordres", limit=1)
    with pytest.raises(UsageError, match="there is no queue"):
        await broker.queue_ack("ordres", ["1"])


async def test_another_process_reads_the_same_queues(broker: LocalTransport, store: Store) -> None:
    await broker.publish([message("1")])

    reader = LocalQueues(store)

    assert isinstance(reader, QueueReader)
    assert [one.message_id for one in await reader.queue_read("orders", limit=1)] == ["1"]


async def test_declaring_anew_follows_routing_yaml(broker: LocalTransport) -> None:
    await broker.publish([message("1")])

    await broker.declare(bound(orders="invoice.#"), takes_away=True)

    assert isinstance((await broker.publish([message("2")]))[0], Unroutable)
    assert await broker.publish([message("3", "invoice.sent")]) == [Confirmed()]
    assert [one.message_id for one in await broker.queue_read("orders", limit=10)] == ["1", "3"]


async def test_a_queue_that_is_no_longer_declared_keeps_its_messages(broker: LocalTransport) -> None:
    await broker.publish([message("1", "order.refunded")])

    await broker.declare(bound(orders="order.#"), takes_away=True)
    await broker.publish([message("2", "order.refunded")])

    (refunds,) = [queue for queue in await broker.queue_list() if queue.name == "refunds"]
    assert (refunds.messages, refunds.is_declared) == (1, False)
    assert await broker.queue_ack("refunds", ["1"]) == ["1"]
    assert [queue.name for queue in await broker.queue_list()] == ["orders"]


async def test_another_process_that_declares_is_heeded_at_once(
    broker: LocalTransport, store: Store, clock: SettableClock
) -> None:
    await broker.publish([message("1")])

    await LocalTransport(store, clock).declare(bound(others="#"))
    await broker.publish([message("2")])

    assert [one.message_id for one in await broker.queue_read("others", limit=10)] == ["2"]


async def test_a_publish_that_is_cut_off_leaves_no_lock_behind(broker: LocalTransport) -> None:
    kept: list[str] = []

    for number in range(CUTS):
        with suppress(TimeoutError):
            async with asyncio.timeout(number % 20 * CUT_STEP_S):
                await broker.publish([message(f"cut {number}")])
        # The database would be refused to it if the one before still held it.
        await broker.publish([message(f"kept {number}")])
        kept.append(f"kept {number}")

    there = [one.message_id for one in await broker.queue_read("orders", limit=10 * CUTS)]
    assert [one for one in there if one.startswith("kept")] == kept


async def test_the_nameless_exchange_reaches_each_queue_by_name(broker: LocalTransport) -> None:
    delivered, lost = await broker.publish([message("1", "refunds", exchange=""), message("2", "nowhere", exchange="")])

    assert delivered == Confirmed()
    assert lost == Unroutable("there is no queue 'nowhere'")


def test_the_embedded_transport_needs_no_address(store: Store, clock: SettableClock) -> None:
    assert isinstance(open_transport(None, store, clock), LocalTransport)


def test_an_address_without_a_transport_is_refused_without_its_password(store: Store, clock: SettableClock) -> None:
    with pytest.raises(ConfigError, match="no transport serves carrier-pigeon://") as refused:
        open_transport("carrier-pigeon://hub:secret@host", store, clock)
    assert "secret" not in str(refused.value)


async def test_what_another_process_declares_counts_from_the_next_message_on(
    broker: LocalTransport, store: Store, clock: SettableClock
) -> None:
    await broker.publish([message("1")])
    other = LocalTransport(store, clock)

    await other.declare(bound(orders="order.#", refunds="order.#"))
    await broker.publish([message("2")])
    await other.declare(bound(refunds="order.#"), takes_away=True)
    results = await broker.publish([message("3"), message("4", exchange="nowhere")])

    assert results[0] == Confirmed()
    assert isinstance(results[1], Unroutable)
    assert [one.message_id for one in await broker.queue_read("orders", limit=9)] == ["1", "2"]
    assert [one.message_id for one in await broker.queue_read("refunds", limit=9)] == ["2", "3"]


async def test_what_cannot_be_routed_is_told_by_the_bindings_of_today(
    broker: LocalTransport, store: Store, clock: SettableClock
) -> None:
    assert isinstance((await broker.publish([message("1", "refund.paid")]))[0], Unroutable)

    await LocalTransport(store, clock).declare(bound(others="refund.#"))

    assert await broker.publish([message("1", "refund.paid")]) == [Confirmed()]


async def test_one_look_wakes_all_whose_queues_others_have_filled(
    broker: LocalTransport, store: Store, clock: SettableClock
) -> None:
    seen: dict[str, list[str]] = {"orders": [], "refunds": []}
    stopping = asyncio.Event()
    filled = asyncio.Event()

    async def consume(queue: str) -> None:
        async def note(batch: Sequence[Delivered]) -> None:
            seen[queue] += [str(one.message_id) for one in batch]
            if all(seen.values()):
                filled.set()

        await broker.consume(queue, note, stopping=stopping)

    with looks_at(store) as looks:
        consumers = [asyncio.create_task(consume(queue)) for queue in seen]
        async with asyncio.timeout(10):
            while len(looks) < 2:  # noqa: ASYNC110 - a statement tells no event
                await asyncio.sleep(0.01)
            await LocalTransport(store, clock).publish([message("1", "order.refunded")])
            await filled.wait()
        stopping.set()
        await asyncio.gather(*consumers)

    assert seen == {"orders": ["1"], "refunds": ["1"]}
    assert all(names == ["orders", "refunds"] for _, names in looks)
    # One for each poll, and not one for each who waits.
    assert min(later - before for (before, _), (later, _) in pairwise(looks)) > local.POLL_S / 4


@contextmanager
def looks_at(store: Store) -> Iterator[list[tuple[float, list[str]]]]:
    """When somebody looks for queues that hold something, and for which."""
    looks: list[tuple[float, list[str]]] = []
    engines = [store.writer.sync_engine, store.reader.sync_engine]

    def hear(_conn: Any, _cursor: Any, statement: str, values: Any, *_more: Any) -> None:
        if statement in (local_statements.NOT_EMPTY._postgresql, local_statements.NOT_EMPTY._sqlite):
            names = values[0]
            looks.append((asyncio.get_running_loop().time(), json.loads(names) if isinstance(names, str) else names))

    for engine in engines:
        event.listen(engine, "before_cursor_execute", hear)
    try:
        yield looks
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", hear)
