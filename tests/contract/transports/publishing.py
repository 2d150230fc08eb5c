"""The contract, first part: what arrives, in which order, and what is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from hub.errors import ConfigError
from hub.transports import (
    Ability,
    Confirmed,
    NotConfirmed,
    OutboundMessage,
    Transport,
    TransportUnavailableError,
    Unroutable,
)
from tests.contract.transports import driving
from tests.contract.transports.driving import Names, ids, left, needs, received
from tests.contract.transports.opening import Open, Opened, Silence

BODIES = (b'{"a": 1}', b"", b"\x00\xff not text", b"\xd0\x9f" * 250_000)


class PublishingContract(Opened):
    """What becomes of messages between ``publish`` and the queue."""

    # What arrives

    @pytest.mark.parametrize("body", BODIES, ids=["json", "empty", "bytes", "large"])
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
        assert arrived.timestamp is None or arrived.timestamp.utcoffset() is not None

    async def test_headers_and_routing_keys_may_hold_any_letters(self, transport: Transport, names: Names) -> None:
        await transport.declare(names.topology(orders="#"))
        message = replace(names.message("заказ.оплачен"), headers={"x-tên": "Nguyễn ☂", "x-empty": ""})

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

    async def test_many_may_publish_at_once(self, transport: Transport, names: Names) -> None:
        await transport.declare(names.topology(orders="#"))
        mine = [[names.message(key=f"customer {number}") for _ in range(20)] for number in range(8)]

        async def publish(number: int) -> None:
            for start in range(0, 20, 5):
                assert await transport.publish(mine[number][start : start + 5]) == [Confirmed()] * 5

        await asyncio.gather(*(publish(number) for number in range(8)))

        arrived = ids(await received(transport, names("orders"), 160))
        assert sorted(arrived) == sorted(message.message_id for messages in mine for message in messages)
        if Ability.ORDERS_PER_KEY in transport.abilities:
            for messages in mine:
                wanted = [message.message_id for message in messages]
                assert [one for one in arrived if one in set(wanted)] == wanted

    async def test_a_silent_broker_is_answered_for_in_time(
        self, transport: Transport, names: Names, silence: Silence | None
    ) -> None:
        if silence is None:
            pytest.skip("says no way to silence its broker")
        await transport.declare(names.topology(orders="#"))
        first, second = names.message(), names.message()
        await transport.publish([names.message(key="before")])

        async with silence(), asyncio.timeout(driving.DEADLINE_S):
            try:
                results = await transport.publish([first, second], timeout_s=0.5)
            except TransportUnavailableError:
                results = []
            assert all(isinstance(result, NotConfirmed) for result in results)

        await confirmed_at_last(transport, [first, second])
        arrived = [one for one in ids(await received(transport, names("orders"), 3)) if one in ids_of(first, second)]
        assert arrived[0] == first.message_id
        assert set(arrived) == ids_of(first, second)

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


async def confirmed_at_last(transport: Transport, messages: Sequence[OutboundMessage]) -> None:
    """Publish again, as the relay does, until the broker is back."""
    async with asyncio.timeout(driving.DEADLINE_S):
        while True:
            try:
                results = await transport.publish(messages)
            except TransportUnavailableError:
                results = []
            if set(results) == {Confirmed()}:
                return
            await asyncio.sleep(0.05)


def ids_of(*messages: OutboundMessage) -> set[str]:
    return {message.message_id for message in messages}
