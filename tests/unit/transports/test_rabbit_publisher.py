"""What a publisher says of a broker that does not answer, or has no queue: here without a broker."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from aiormq.abc import DeliveredMessage
from pamqp import commands as spec
from pamqp.header import ContentHeader

from hub.transports import Confirmed, NotConfirmed, OutboundMessage, TransportUnavailableError
from hub.transports.rabbit.confirms import Confirmation, Countdown
from hub.transports.rabbit.link import Link
from hub.transports.rabbit.publishing import Publisher, Returned, _answer

WAIT_S = 30.0


def a_message(number: int) -> OutboundMessage:
    return OutboundMessage(
        message_id=f"m-{number}", exchange="hub.out", routing_key="order.paid", content_type="application/json",
        payload=b"{}", headers={}, key="k",
    )  # fmt: skip


class DeadLink:
    """A connection that is never made: what is asked of it waits for ever."""

    async def channel(self, **_: Any) -> Any:
        await asyncio.Event().wait()

    async def discard(self, _channel: Any) -> None:
        return


async def test_a_publish_to_a_broker_that_is_away_ends() -> None:
    async def declare() -> None:
        return

    publisher = Publisher(cast(Link, DeadLink()), declare)

    async with asyncio.timeout(WAIT_S):
        with pytest.raises(TransportUnavailableError, match="did not answer"):
            await publisher.publish([a_message(1), a_message(2)], timeout_s=0.01)


async def test_a_message_that_comes_back_is_not_one_that_was_taken() -> None:
    end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    taken, returned, refused = (Confirmation(Countdown(end, 3)) for _ in range(3))
    back = spec.Basic.Return(312, "NO_ROUTE", "hub.out", "order.paid")
    taken.set_result(spec.Basic.Ack(1))
    returned.set_result(DeliveredMessage(delivery=back, header=ContentHeader(), body=b"", channel=cast(Any, None)))
    refused.set_exception(TimeoutError())

    assert _answer(taken) == Confirmed()
    assert isinstance(_answer(returned), Returned)
    assert not isinstance(_answer(refused), Confirmed | NotConfirmed)
