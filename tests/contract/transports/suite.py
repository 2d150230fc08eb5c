"""The contract of a transport. A new one inherits ``TransportContract`` and says how it is opened; nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import uuid4

import pytest

from hub.errors import ConfigError
from hub.transports import (
    Ability,
    Binding,
    Confirmed,
    Delivered,
    NotConfirmed,
    OutboundMessage,
    QueueSpec,
    Topology,
    Transport,
    Unroutable,
)

DEADLINE_S = 15.0
QUIET_S = 0.8
"""How long nothing must come for a queue to count as empty: longer than any transport's own poll."""

Open = Callable[[], Awaitable[Transport]]


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


class TransportContract:
    """Each test gets a broker of its own or names of its own; ``open`` connects to it, as often as a test likes."""

    @pytest.fixture
    def open(self) -> Open:
        """Connect to the broker under test. Override; whoever opens also closes, at the latest when the test ends."""
        raise NotImplementedError

    @pytest.fixture
    async def transport(self, open: Open) -> AsyncIterator[Transport]:
        opened = await open()
        yield opened
        await opened.close()

    @pytest.fixture
    def names(self) -> Names:
        return Names()

    def two_that_differ(self, names: Names) -> tuple[Topology, Topology]:
        """The queue ``orders``, twice and not alike. Override where a broker tells other things apart."""
        queue = names("orders")
        return Topology.of([QueueSpec(queue, single_consumer=True)], []), Topology.of([QueueSpec(queue)], [])

    # What arrives

    @pytest.mark.parametrize(
        "body", [b'{"a": 1}', b"", b"\x00\xff not text", b"\xd0\x9f" * 250_000], ids=["json", "empty", "bytes", "large"]
    )
    async def test_a_message_arrives_byte_for_byte(self, transport: Transport, names: Names, body: bytes) -> None:
        await transport.declare(names.topology(orders="#"))
        message = names.message("order.paid", body=body)

        assert await transport.publish([message]) == [Confirmed()]

        (arrived,) = await received(transport, names("orders"), 1)
        assert arrived.payload == body
        assert arrived.message_id == message.message_id
        assert arrived.routing_key == "order.paid"
        assert arrived.content_type == "application/json"
        assert arrived.headers.items() >= message.headers.items()

    async def test_headers_and_routing_keys_may_hold_any_letters(self, transport: Transport, names: Names) -> None:
        await transport.declare(names.topology(orders="#"))
        message = names.message("заказ.оплачен")
        message = OutboundMessage(
            **{name: getattr(message, name) for name in message.__slots__ if name != "headers"},
            headers={"x-tên": "Nguyễn ☂", "x-empty": ""},
        )

        await transport.publish([message])

        (arrived,) = await received(transport, names("orders"), 1)
        assert arrived.routing_key == "заказ.оплачен"
        assert arrived.headers.items() >= message.headers.items()

    async def test_each_queue_gets_what_its_pattern_names(self, transport: Transport, names: Names) -> None:
        await transport.declare(names.topology(paid="order.paid", orders="order.#", words="*.*"))
        paid, sent = names.message("order.paid"), names.message("order.sent.early")

        await transport.publish([paid, sent])

        assert ids(await received(transport, names("paid"), 1)) == [paid.message_id]
        assert ids(await received(transport, names("orders"), 2)) == [paid.message_id, sent.message_id]
        assert ids(await received(transport, names("words"), 1)) == [paid.message_id]
        assert await left(transport, names("paid")) == []

    async def test_answers_come_in_the_order_asked(self, transport: Transport, names: Names) -> None:
        needs(transport, Ability.RETURNS_UNROUTABLE)
        await transport.declare(names.topology(paid="order.paid"))
        messages = [
            names.message("order.paid" if number % 3 else "order.lost", key=f"key {number}") for number in range(30)
        ]

        results = await transport.publish(messages)

        assert [isinstance(result, Confirmed) for result in results] == [bool(number % 3) for number in range(30)]

    async def test_publishing_nothing_answers_nothing(self, transport: Transport) -> None:
        assert await transport.publish([]) == []

    # Order

    async def test_the_messages_of_a_key_stay_in_order(self, transport: Transport, names: Names) -> None:
        needs(transport, Ability.ORDERS_PER_KEY)
        await transport.declare(names.topology(orders="#"))
        messages = [names.message(key=f"customer {number % 7}") for number in range(300)]

        for start in range(0, 300, 60):
            assert set(await transport.publish(messages[start : start + 60])) == {Confirmed()}

        arrived = ids(await received(transport, names("orders"), 300))
        for customer in range(7):
            mine = [message.message_id for message in messages if message.key == f"customer {customer}"]
            assert [one for one in arrived if one in set(mine)] == mine

    async def test_a_message_that_no_queue_takes_is_told_apart(self, transport: Transport, names: Names) -> None:
        needs(transport, Ability.RETURNS_UNROUTABLE)
        await transport.declare(names.topology(paid="order.paid"))
        lost, paid = names.message("order.lost", key="a"), names.message("order.paid", key="b")

        unroutable, confirmed = await transport.publish([lost, paid])

        assert isinstance(unroutable, Unroutable)
        assert unroutable.reason
        assert confirmed == Confirmed()

    async def test_behind_one_that_did_not_go_nothing_of_its_key_counts(
        self, transport: Transport, names: Names
    ) -> None:
        needs(transport, Ability.RETURNS_UNROUTABLE)
        await transport.declare(names.topology(paid="order.paid"))
        first, lost, behind, other = (
            names.message("order.paid", key="a"),
            names.message("order.lost", key="a"),
            names.message("order.paid", key="a"),
            names.message("order.paid", key="b"),
        )

        results = await transport.publish([first, lost, behind, other])

        assert results[0] == results[3] == Confirmed()
        assert isinstance(results[1], Unroutable)
        assert isinstance(results[2], NotConfirmed)
        if Ability.HALTS_KEY in transport.abilities:
            arrived = ids(await received(transport, names("paid"), 2))
            assert sorted(arrived) == sorted([first.message_id, other.message_id])
            assert await left(transport, names("paid")) == []

    async def test_a_message_may_be_published_again(self, transport: Transport, names: Names) -> None:
        await transport.declare(names.topology(orders="#"))
        message = names.message()

        assert await transport.publish([message]) == [Confirmed()]
        assert await transport.publish([message]) == [Confirmed()]

        copies = 1 if Ability.ABSORBS_REPEATS in transport.abilities else 2
        arrived = await received(transport, names("orders"), copies)
        assert set(ids(arrived)) == {message.message_id}
        assert await left(transport, names("orders")) == []

    # Keeping

    async def test_messages_wait_for_a_consumer_across_connections(self, open: Open, names: Names) -> None:
        first = await open()
        await first.declare(names.topology(orders="#"))
        message = names.message()
        await first.publish([message])
        await first.close()

        second = await open()
        arrived = await received(second, names("orders"), 1)
        await second.close()

        assert ids(arrived) == [message.message_id]

    async def test_declaring_again_changes_nothing(self, transport: Transport, names: Names) -> None:
        topology = names.topology(orders="#")
        await transport.declare(topology)
        message = names.message()
        await transport.publish([message])

        await transport.declare(topology)

        assert ids(await received(transport, names("orders"), 1)) == [message.message_id]

    async def test_a_queue_that_exists_otherwise_is_refused_with_both_sides(
        self, transport: Transport, names: Names
    ) -> None:
        needs(transport, Ability.REFUSES_MISMATCH)
        first, second = self.two_that_differ(names)
        await transport.declare(first)

        with pytest.raises(ConfigError) as refused:
            await transport.declare(second)

        assert names("orders") in str(refused.value)

    # Consuming

    async def test_what_a_batch_returned_for_is_gone(self, transport: Transport, names: Names) -> None:
        await transport.declare(names.topology(orders="#"))
        messages = [names.message(key=str(number)) for number in range(25)]
        await transport.publish(messages)

        arrived = await received(transport, names("orders"), 25)

        assert sorted(ids(arrived)) == sorted(message.message_id for message in messages)
        assert await left(transport, names("orders")) == []

    async def test_a_batch_holds_no_more_than_asked_for(self, transport: Transport, names: Names) -> None:
        await transport.declare(names.topology(orders="#"))
        await transport.publish([names.message(key=str(number)) for number in range(25)])
        sizes: list[int] = []

        async def take(batch: Sequence[Delivered]) -> None:
            sizes.append(len(batch))

        async with consuming(transport, names("orders"), take, batch_size=10):
            await until(lambda: sum(sizes) == 25)

        assert max(sizes) <= 10

    async def test_a_batch_whose_handler_raised_comes_again(self, transport: Transport, names: Names) -> None:
        await transport.declare(names.topology(orders="#"))
        messages = [names.message() for _ in range(3)]
        await transport.publish(messages)
        seen: list[Delivered] = []
        kept: list[Delivered] = []

        async def take(batch: Sequence[Delivered]) -> None:
            seen.extend(batch)
            if len(seen) <= 3:
                raise RuntimeError("the database is away")
            kept.extend(batch)

        async with consuming(transport, names("orders"), take):
            await until(lambda: len(kept) >= 3)

        wanted = [message.message_id for message in messages]
        # A broker may push single messages: those that had not been handed out come for the first time.
        assert set(ids(kept)) == set(wanted)
        if Ability.REDELIVERED_FLAG in transport.abilities:
            assert not seen[0].redelivered
            assert next(one for one in kept if one.message_id == seen[0].message_id).redelivered
        if Ability.STABLE_TAGS in transport.abilities:
            first = {one.message_id: one.tag for one in seen}
            assert {one.message_id: one.tag for one in kept} == first
            assert len(set(first.values())) == len(messages)
        assert await left(transport, names("orders")) == []

    async def test_a_batch_cut_off_in_its_handler_comes_again(self, open: Open, names: Names) -> None:
        first = await open()
        await first.declare(names.topology(orders="#"))
        message = names.message()
        await first.publish([message])
        reached = asyncio.Event()

        async def hang(batch: Sequence[Delivered]) -> None:
            reached.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(first.consume(names("orders"), hang, stopping=asyncio.Event()))
        async with asyncio.timeout(DEADLINE_S):
            await reached.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await first.close()

        second = await open()
        (arrived,) = await received(second, names("orders"), 1)
        await second.close()
        assert arrived.message_id == message.message_id
        if Ability.REDELIVERED_FLAG in second.abilities:
            assert arrived.redelivered

    async def test_a_batch_in_hand_at_the_stop_is_finished(self, transport: Transport, names: Names) -> None:
        await transport.declare(names.topology(orders="#"))
        await transport.publish([names.message()])
        stopping, reached, go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def take(batch: Sequence[Delivered]) -> None:
            reached.set()
            await go_on.wait()

        task = asyncio.create_task(transport.consume(names("orders"), take, stopping=stopping))
        async with asyncio.timeout(DEADLINE_S):
            await reached.wait()
            stopping.set()
            go_on.set()
            await task

        assert await left(transport, names("orders")) == []

    async def test_an_ordered_queue_has_one_consumer_at_a_time(self, transport: Transport, names: Names) -> None:
        needs(transport, Ability.SINGLE_CONSUMER)
        await transport.declare(names.topology(orders="#"))
        first: list[Delivered] = []
        second: list[Delivered] = []

        async with consuming(transport, names("orders"), collect(first)):
            await transport.publish([names.message()])
            await until(lambda: len(first) == 1)
            async with consuming(transport, names("orders"), collect(second)):
                await transport.publish([names.message() for _ in range(5)])
                await until(lambda: len(first) == 6)
                assert second == []

    async def test_a_consumer_that_stands_by_takes_over(self, transport: Transport, names: Names) -> None:
        needs(transport, Ability.SINGLE_CONSUMER)
        await transport.declare(names.topology(orders="#"))
        first: list[Delivered] = []
        second: list[Delivered] = []

        async with asyncio.TaskGroup() as group:
            leaving, ending = asyncio.Event(), asyncio.Event()
            group.create_task(transport.consume(names("orders"), collect(first), stopping=leaving))
            await transport.publish([names.message()])
            await until(lambda: len(first) == 1)
            group.create_task(transport.consume(names("orders"), collect(second), stopping=ending))
            leaving.set()
            message = names.message()
            await transport.publish([message])
            await until(lambda: len(first) + len(second) == 2)
            ending.set()

        assert await left(transport, names("orders")) == []

    async def test_a_consumer_is_woken_by_what_arrives(self, transport: Transport, names: Names) -> None:
        await transport.declare(names.topology(orders="#"))
        arrived: list[Delivered] = []

        async with consuming(transport, names("orders"), collect(arrived)):
            for count in range(1, 6):
                await transport.publish([names.message()])
                await until(lambda count=count: len(arrived) == count)  # type: ignore[misc]  # mypy: lambda default

    async def test_it_says_that_it_is_well(self, transport: Transport) -> None:
        assert await transport.healthy()


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
        group.create_task(transport.consume(queue, on_batch, stopping=stopping, batch_size=batch_size))
        try:
            yield
        finally:
            stopping.set()


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
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - the condition is the transport's, which has no event to wait for
            await asyncio.sleep(0.005)
