"""The contract, second part: batches, acknowledgements, stops and stand-ins."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hub.transports import (
    Ability,
    Delivered,
    Transport,
)
from tests.contract.transports import driving
from tests.contract.transports.driving import Names, collect, consuming, ids, left, needs, received, until
from tests.contract.transports.opening import Open, Opened


class ConsumingContract(Opened):
    """What becomes of messages between the queue and ``on_batch``."""

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

    async def test_one_batch_is_handed_over_at_a_time(self, transport: Transport, names: Names) -> None:
        await transport.declare(names.topology(orders="#"))
        await transport.publish([names.message(key=str(number)) for number in range(20)])
        in_hand, most, taken = 0, 0, 0

        async def take(batch: Sequence[Delivered]) -> None:
            nonlocal in_hand, most, taken
            in_hand += 1
            most = max(most, in_hand)
            await asyncio.sleep(0.02)
            in_hand -= 1
            taken += len(batch)

        async with consuming(transport, names("orders"), take, batch_size=5):
            await until(lambda: taken == 20)

        assert most == 1

    async def test_reading_an_empty_queue_ends_when_it_is_told(self, transport: Transport, names: Names) -> None:
        await transport.declare(names.topology(orders="#"))

        async with consuming(transport, names("orders"), collect([])):
            pass

        stopped = asyncio.Event()
        stopped.set()
        async with asyncio.timeout(driving.DEADLINE_S):
            await transport.consume(names("orders"), collect([]), stopping=stopped)

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
            first = {one.message_id: one.tag for one in reversed(seen)}
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
        async with asyncio.timeout(driving.DEADLINE_S):
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
        async with asyncio.timeout(driving.DEADLINE_S):
            await reached.wait()
            stopping.set()
            # Whoever stops at once does so now; a batch may be done in less than that.
            for _ in range(10):
                await asyncio.sleep(0)
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
        assert await transport.state()
