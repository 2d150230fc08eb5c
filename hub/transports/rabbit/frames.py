"""Many AMQP frames as one write: three times less work per message than a call and a task for each.

This leans on parts of aiormq that it does not promise to keep. ``can_write_blocks`` looks whether they are there, a
test fails when a new version lacks one, and everything falls back to aiormq's public calls then.
Source: AMQP 0-9-1, "General Frame Format" and "basic" class; docs/rabbitmq.md, "Speed".
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, cast

import aiormq
import pamqp.frame
import structlog
from aiormq.abc import ChannelFrame, DeliveredMessage
from pamqp import commands as spec

from hub.errors import PermanentError
from hub.transports.base import OutboundMessage
from hub.transports.rabbit.confirms import Confirmation, Confirms, Countdown
from hub.transports.rabbit.intake import Take, attach
from hub.transports.rabbit.messages import arrived, properties_of
from hub.transports.rabbit.properties import header_frame

ROUTES_MAX: Final = 4_096
FRAME_OVERHEAD: Final = 8
_ACK: Final = struct.Struct(">BHIHHQBB")
log = structlog.get_logger(__name__)
_FRAME: Final = struct.Struct(">BHI")
_METHOD_FRAME, _BODY_FRAME, _ACK_BYTES, _BASIC, _BASIC_ACK, _FRAME_END = 1, 3, 13, 60, 80, 0xCE
_END: Final = bytes((_FRAME_END,))
_CHANNEL_PARTS: Final = (
    "confirmations",
    "message_id_delivery_tag",
    "delivery_tag",
    "write_queue",
    "max_content_size",
    "create_future",
)


class OversizeError(PermanentError):
    """The message can never be sent: a name or the headers are larger than the protocol or the broker allows."""


def can_write_blocks(channel: aiormq.Channel) -> bool:
    """Whether this version of aiormq has everything that a block leans on."""
    return all(hasattr(channel, name) for name in _CHANNEL_PARTS)


def encode(channel: aiormq.Channel, message: OutboundMessage) -> bytes:
    """The frames of one message: what to do, properties, body. Raises OversizeError."""
    number, room = channel.number, channel.max_content_size
    try:
        method = _publish_frame(message.exchange, message.routing_key, number)
        header = header_frame(
            body_bytes=len(message.payload),
            message_id=message.message_id,
            content_type=message.content_type,
            headers=message.headers,
            channel=number,
        )
    except (ValueError, TypeError, struct.error) as error:
        raise OversizeError(f"it cannot be put into AMQP: {error}") from error
    if len(header) > room + FRAME_OVERHEAD:
        # The broker would close the connection, and with it everything else that is on its way.
        raise OversizeError(f"its headers take {len(header)} bytes, more than the broker's frames of {room}")
    payload = message.payload
    parts = [payload[at : at + room] for at in range(0, len(payload), room)]
    bodies = [_FRAME.pack(_BODY_FRAME, number, len(part)) + part + _END for part in parts]
    return b"".join((method, header, *bodies))


@lru_cache(maxsize=ROUTES_MAX)
def _publish_frame(exchange: str, routing_key: str, number: int) -> bytes:
    frame = spec.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=True)
    return pamqp.frame.marshal(frame, number)


async def publish_block(channel: aiormq.Channel, messages: Sequence[tuple[OutboundMessage, bytes]]) -> Confirms:
    """Write all frames in one piece; what is answered waits for the broker's word on each message.

    No two of them may have one id: the broker's return names nothing else.
    """
    if not can_write_blocks(channel):
        futures = [asyncio.ensure_future(_publish_plainly(channel, message)) for message, _ in messages]
        return Confirms(futures, futures)
    countdown = Countdown(channel.create_future(), len(messages))
    each: list[Confirmation] = []
    for message, _ in messages:
        channel.delivery_tag += 1
        confirmation = Confirmation(countdown)
        each.append(confirmation)
        channel.confirmations[channel.delivery_tag] = cast(Any, confirmation)
        channel.message_id_delivery_tag[message.message_id] = channel.delivery_tag
    await channel.write_queue.put(ChannelFrame(payload=b"".join(frames for _, frames in messages), should_close=False))
    return Confirms(each, [countdown.end])


def forget_ids(channel: aiormq.Channel, messages: Sequence[OutboundMessage]) -> None:
    """Once they are answered, their ids may be used again."""
    if can_write_blocks(channel):
        for message in messages:
            channel.message_id_delivery_tag.pop(message.message_id, None)


async def _publish_plainly(channel: aiormq.Channel, message: OutboundMessage) -> Any:
    return await channel.basic_publish(
        message.payload,
        exchange=message.exchange,
        routing_key=message.routing_key,
        properties=properties_of(message),
        mandatory=True,
        wait=False,
    )


async def acknowledge(channel: aiormq.Channel, tags: Sequence[int]) -> None:
    """Acknowledge exactly these deliveries, in one write."""
    number = channel.number
    frames = b"".join(
        _ACK.pack(_METHOD_FRAME, number, _ACK_BYTES, _BASIC, _BASIC_ACK, tag, 0, _FRAME_END) for tag in tags
    )
    await channel.write_queue.put(ChannelFrame(payload=frames, should_close=False))


async def consume(channel: aiormq.Channel, queue: str, take: Take, *, consumer_tag: str, timeout_s: float) -> None:
    """Consume with ``take`` called for each message as it is read, in the order of the channel."""

    async def plain(message: DeliveredMessage) -> None:
        take(arrived(message))

    if not attach(channel, take):
        log.debug("frames_read_singly", queue=queue)
    await channel.basic_consume(queue, plain, consumer_tag=consumer_tag, timeout=timeout_s)
