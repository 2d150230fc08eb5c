"""Many messages in flight, one per key."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from hub.transports import Confirmed, NotConfirmed, OutboundMessage, PublishResult, TransportUnavailableError
from hub.transports.base import HELD_BACK
from hub.transports.keyorder import believed, send_in_key_order


def message(message_id: str, key: str) -> OutboundMessage:
    return OutboundMessage(
        message_id=message_id,
        exchange="shop",
        routing_key="order.paid",
        content_type="application/json",
        payload=b"{}",
        headers={},
        key=key,
    )


async def test_one_message_per_key_is_out_at_a_time() -> None:
    messages = [message(str(number), f"key {number % 5}") for number in range(50)]
    out: Counter[str] = Counter()
    most: Counter[str] = Counter()
    done: list[str] = []

    async def send(one: OutboundMessage) -> PublishResult:
        out[one.key] += 1
        most[one.key] = max(most[one.key], out[one.key])
        most["all"] = max(most["all"], sum(out.values()))
        await asyncio.sleep(0)
        out[one.key] -= 1
        done.append(one.message_id)
        return Confirmed()

    results = await send_in_key_order(messages, send, in_flight_max=3, timeout_s=5)

    assert results == [Confirmed()] * 50
    assert most == {f"key {number}": 1 for number in range(5)} | {"all": 3}
    for number in range(5):
        assert [int(one) for one in done if int(one) % 5 == number] == list(range(number, 50, 5))


async def test_a_refusal_holds_back_the_rest_of_its_key() -> None:
    sent: list[str] = []

    async def send(one: OutboundMessage) -> PublishResult:
        sent.append(one.message_id)
        return NotConfirmed("full") if one.message_id == "a2" else Confirmed()

    messages = [message("a1", "a"), message("a2", "a"), message("b1", "b"), message("a3", "a")]
    results = await send_in_key_order(messages, send, in_flight_max=10, timeout_s=5)

    assert results == [Confirmed(), NotConfirmed("full"), Confirmed(), HELD_BACK]
    assert "a3" not in sent


async def test_what_is_not_answered_in_time_is_not_confirmed() -> None:
    async def send(one: OutboundMessage) -> PublishResult:
        if one.key == "slow":
            await asyncio.Event().wait()
        return Confirmed()

    messages = [message("1", "slow"), message("2", "slow"), message("3", "quick")]
    results = await send_in_key_order(messages, send, in_flight_max=10, timeout_s=0.05)

    assert results == [NotConfirmed("no answer within 0.05 s"), HELD_BACK, Confirmed()]


async def test_a_broker_that_is_away_is_said_at_once() -> None:
    async def send(one: OutboundMessage) -> PublishResult:
        if one.message_id == "2":
            raise TransportUnavailableError("connection lost")
        await asyncio.Event().wait()
        return Confirmed()

    with pytest.raises(TransportUnavailableError, match="connection lost"):
        await send_in_key_order([message("1", "a"), message("2", "b")], send, in_flight_max=10, timeout_s=5)


def test_what_was_confirmed_behind_one_that_was_not_is_not_believed() -> None:
    messages = [message(str(number), key) for number, key in enumerate("aabab")]
    refused = NotConfirmed("refused")

    results = believed(messages, [Confirmed(), refused, Confirmed(), Confirmed(), Confirmed()])

    assert results == [Confirmed(), refused, Confirmed(), HELD_BACK, Confirmed()]
