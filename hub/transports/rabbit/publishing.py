"""Publishing with confirms: many messages in flight on one channel, and the broker's verdict on each.

All messages of a call go out as one block, in the order given. Where that brings no clear verdict (nobody takes a
message, the broker closes the channel over one) the topology is declared again, and everything from the first message
in doubt on is sent once more, one by one, so that a queue that somebody deleted comes back and one bad message is
found. Source: docs/guarantees.md, G3; docs/rabbitmq.md, "Publishing".
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import aiormq
import structlog
from aiormq.abc import DeliveredMessage
from aiormq.exceptions import ChannelClosed, DeliveryError
from pamqp import commands as spec

from hub.errors import ConfigError
from hub.transports.base import (
    Confirmed,
    NotConfirmed,
    OutboundMessage,
    PublishResult,
    TransportUnavailableError,
    Unroutable,
)
from hub.transports.keyorder import believed
from hub.transports.rabbit import metrics
from hub.transports.rabbit.confirms import Awaited
from hub.transports.rabbit.frames import OversizeError, encode, forget_ids, publish_block
from hub.transports.rabbit.link import Link, words_of

IN_FLIGHT_MAX: Final = 500
"""Messages that wait for their confirm at once; the relay's batches are smaller."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Returned:
    """No queue takes the message, as things are declared now."""

    reason: str


@dataclass(frozen=True, slots=True)
class Closed:
    """The broker closed the channel, over this message or another one, before it answered."""

    reason: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection went before the answer came."""

    reason: str


Answer: TypeAlias = Confirmed | NotConfirmed | Unroutable | Returned | Closed | Lost | None
"""What is known of one message; None until the broker has answered."""
CONFIRMED: Final = Confirmed()


class Publisher:
    """Sends on one channel, which is opened when it is needed."""

    def __init__(self, link: Link, redeclare: Callable[[], Awaitable[None]]) -> None:
        self._link = link
        self._redeclare = redeclare
        self._channel: aiormq.Channel | None = None
        # Calls take turns: two of them may carry the same message, whose return names only its id.
        self._turn = asyncio.Lock()

    async def publish(self, messages: Sequence[OutboundMessage], *, timeout_s: float) -> list[PublishResult]:
        """As ``Transport.publish``."""
        answers: list[Answer] = [None] * len(messages)
        try:
            async with asyncio.timeout(timeout_s), self._turn:
                await self._send(messages, answers)
        except TimeoutError:
            await self._give_up_channel()
        except TransportUnavailableError:
            if not any(isinstance(answer, Confirmed) for answer in answers):
                raise
        if not any(isinstance(answer, Confirmed | Unroutable | NotConfirmed) for answer in answers):
            _raise_unavailable(answers, timeout_s)
        return believed(messages, [_verdict(answer, timeout_s) for answer in answers])

    async def close(self) -> None:
        await self._give_up_channel()

    async def _send(self, messages: Sequence[OutboundMessage], answers: list[Answer]) -> None:
        for places in _blocks(messages):
            await self._send_block(messages, places, answers)
        again = _in_doubt(messages, answers)
        if again:
            await self._declare_again(sum(isinstance(answers[place], Returned) for place in again))
            await self._send_apart(messages, again, answers)

    async def _send_block(
        self, messages: Sequence[OutboundMessage], places: Sequence[int], answers: list[Answer]
    ) -> None:
        channel = await self._open()
        encoded: list[tuple[OutboundMessage, bytes]] = []
        sent: list[int] = []
        for place in places:
            try:
                encoded.append((messages[place], encode(channel, messages[place])))
                sent.append(place)
            except OversizeError as error:
                answers[place] = Unroutable(str(error))
        if not encoded:
            return
        async with self._link.guarded():
            confirms = await publish_block(channel, encoded)
        try:
            await confirms.wait()
        finally:
            forget_ids(channel, [message for message, _ in encoded])
            for place, confirmation in zip(sent, confirms.each, strict=True):
                answers[place] = _answer(confirmation)

    async def _send_apart(
        self, messages: Sequence[OutboundMessage], places: Sequence[int], answers: list[Answer]
    ) -> None:
        """One by one; the broker's word on a single message is final. A key stops at its first obstacle."""
        halted: set[tuple[str, str]] = set()
        for place in places:
            chain = (messages[place].exchange, messages[place].key)
            if chain in halted:
                continue
            answers[place] = None
            await self._send_block(messages, [place], answers)
            answer = answers[place]
            if isinstance(answer, Returned | Closed):
                answers[place] = Unroutable(answer.reason)
            if not isinstance(answer, Confirmed):
                halted.add(chain)

    async def _declare_again(self, returned: int) -> None:
        metrics.RETURNED.inc(returned)
        try:
            await self._redeclare()
        except ConfigError as error:
            log.error("topology_differs", error=str(error))

    async def _open(self) -> aiormq.Channel:
        if self._channel is None or self._channel.is_closed:
            self._channel = await self._link.channel(confirms=True)
        return self._channel

    async def _give_up_channel(self) -> None:
        """Leave a channel whose confirms are late: they must not be taken for those of the next attempt."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await self._link.discard(channel)


def _blocks(messages: Sequence[OutboundMessage]) -> list[list[int]]:
    """Places in the order given, cut where a block is full or an id comes again: a return names only the id."""
    blocks: list[list[int]] = []
    ids: set[str] = set()
    for place, message in enumerate(messages):
        if not blocks or len(blocks[-1]) >= IN_FLIGHT_MAX or message.message_id in ids:
            blocks.append([])
            ids = set()
        blocks[-1].append(place)
        ids.add(message.message_id)
    return blocks


def _in_doubt(messages: Sequence[OutboundMessage], answers: Sequence[Answer]) -> list[int]:
    """What was returned or went down with the channel, and everything behind it in its key."""
    halted: set[tuple[str, str]] = set()
    places = []
    for place, (message, answer) in enumerate(zip(messages, answers, strict=True)):
        chain = (message.exchange, message.key)
        if isinstance(answer, Returned | Closed) or chain in halted:
            halted.add(chain)
            places.append(place)
    return places


def _answer(future: Awaited) -> Answer:
    if not future.done():
        future.cancel()
        return None
    if future.cancelled():
        return Lost("the connection was lost")
    error = future.exception()
    match error:
        case None:
            pass
        case DeliveryError():
            return NotConfirmed("the broker refused it")
        case ChannelClosed(args=[str(), *_]):
            return Closed(words_of(error))
        case _:
            return Lost(words_of(error))
    result = future.result()
    if isinstance(result, DeliveredMessage) and isinstance(result.delivery, spec.Basic.Return):
        return Returned(_why(result.delivery))
    return CONFIRMED


def _why(returned: spec.Basic.Return) -> str:
    return (
        f"no queue is bound to exchange {returned.exchange!r} for routing key {returned.routing_key!r} "
        f"({returned.reply_text})"
    )


def _verdict(answer: Answer, timeout_s: float) -> PublishResult:
    match answer:
        case None:
            return NotConfirmed(f"no answer within {timeout_s:g} s")
        case Lost(reason):
            # The broker's fault, not the message's: nothing is counted against it.
            return NotConfirmed(reason, was_tried=False)
        case Returned(reason) | Closed(reason):
            return NotConfirmed(reason)
        case _:
            return answer


def _raise_unavailable(answers: Sequence[Answer], timeout_s: float) -> None:
    """The broker has said nothing at all about any message: it is away."""
    if not answers:
        return
    lost = next((answer.reason for answer in answers if isinstance(answer, Lost | Closed | Returned)), None)
    raise TransportUnavailableError(lost or f"RabbitMQ did not answer within {timeout_s:g} s")
