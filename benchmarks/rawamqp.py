"""AMQP 0-9-1 by plain frames: the load, the judge's counter and the broker's limit, at the least cost per message.

One connection with one channel, used by one task at a time. Not a client for anything but measuring: it knows no
reconnecting, no heartbeats and no other error than to end. Source: AMQP 0-9-1 specification, sections 2.3 and 4.2.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from pamqp import commands, frame, header
from pamqp.base import Frame

PORT = 5672
CHANNEL = 1
FRAME_MAX = 131_072
ANSWER_S_MAX = 15.0
WINDOW = 2_000
"""Messages that may wait for their confirm at once."""
BLOCK = 200
"""Messages that are written in one go, and acknowledged in one go."""
READ_BYTES = 1 << 18

_METHOD, _BODY = 1, 3
_DELIVER, _ACK, _NACK, _RETURN = ((60, 60), (60, 80), (60, 120), (60, 50))

Method = TypeVar("Method", bound=Frame)
OnBody = Callable[[bytes], None]


class RawChannel:
    """One channel in confirm mode. Made by ``connect``."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._buffer = bytearray()
        self._acks = False
        self._tags_before = 0

    async def declare(self, queue: str, arguments: Mapping[str, Any] | None = None) -> None:
        """Make a durable queue."""
        await self._ask(
            commands.Queue.Declare(queue=queue, durable=True, arguments=dict(arguments or {})), commands.Queue.DeclareOk
        )

    async def depth(self, queue: str) -> int:
        """How many messages are ready in the queue. Raises RuntimeError when there is no such queue."""
        asked = commands.Queue.Declare(queue=queue, passive=True)
        return (await self._ask(asked, commands.Queue.DeclareOk)).message_count or 0

    async def delete(self, *, queues: Iterable[str] = (), exchanges: Iterable[str] = ()) -> None:
        """Remove these, with what they hold; what is not there is fine."""
        for queue in queues:
            await self._ask(commands.Queue.Delete(queue=queue), commands.Queue.DeleteOk)
        for exchange in exchanges:
            await self._ask(commands.Exchange.Delete(exchange=exchange), commands.Exchange.DeleteOk)

    async def publish_all(
        self,
        messages: Iterable[tuple[str, bytes]],
        *,
        exchange: str = "",
        routing_key: str,
        timeout_s: float = 120.0,
    ) -> int:
        """Publish (message id, body) pairs, persistent and mandatory, until all are confirmed; how many they were.

        Raises RuntimeError when the broker refuses or returns one.
        """
        method = frame.marshal(
            commands.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=True), CHANNEL
        )
        published = confirmed = 0
        block: list[bytes] = []
        async with asyncio.timeout(timeout_s):
            for message_id, body in messages:
                block.append(method + _content(message_id, body))
                published += 1
                if len(block) == BLOCK:
                    await self._write(block)
                    confirmed = await self._confirmed(confirmed, published - WINDOW)
            await self._write(block)
            await self._confirmed(confirmed, published)
        self._tags_before += published
        return published

    async def publish(self, message_id: str, body: bytes, *, exchange: str = "", routing_key: str) -> None:
        """Write one message without waiting for its confirm: its arrival will tell. For open-loop load."""
        method = commands.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=True)
        await self._write([frame.marshal(method, CHANNEL) + _content(message_id, body)])

    async def start_consuming(self, queue: str, *, prefetch: int = 0) -> None:
        """Ask for the queue's messages; with ``prefetch`` (at least ``BLOCK``) they are acknowledged, else not."""
        if prefetch:
            await self._ask(commands.Basic.Qos(prefetch_count=prefetch), commands.Basic.QosOk)
        consume = commands.Basic.Consume(queue=queue, no_ack=not prefetch)
        self._acks = prefetch > 0
        await self._ask(consume, commands.Basic.ConsumeOk)

    async def take(self, count: int, on_body: OnBody, *, timeout_s: float) -> None:
        """Hand out ``count`` messages, acknowledging them in blocks where they are to be acknowledged.

        Raises TimeoutError when they do not come in time.
        """
        taken = tag = 0
        async with asyncio.timeout(timeout_s):
            while taken < count:
                kind, payload = await self._frame()
                if kind == _METHOD and struct.unpack_from(">HH", payload) == _DELIVER:
                    tag = struct.unpack_from(">Q", payload, 5 + payload[4])[0]
                elif kind == _BODY:
                    on_body(payload)
                    taken += 1
                    if self._acks and (taken % BLOCK == 0 or taken == count):
                        await self._write([frame.marshal(commands.Basic.Ack(tag, multiple=True), CHANNEL)])

    async def close(self) -> None:
        """Hang up."""
        self._writer.close()
        async with asyncio.timeout(ANSWER_S_MAX):
            await asyncio.gather(self._writer.wait_closed(), return_exceptions=True)

    async def _confirmed(self, confirmed: int, at_least: int) -> int:
        while confirmed < at_least:
            kind, payload = await self._frame()
            method = struct.unpack_from(">HH", payload) if kind == _METHOD else None
            if method in (_NACK, _RETURN):
                raise RuntimeError("the broker refused a message of the load")
            if method == _ACK:
                tag, bits = struct.unpack_from(">QB", payload, 4)
                confirmed = max(confirmed, tag - self._tags_before) if bits & 1 else confirmed + 1
        return confirmed

    async def _write(self, block: list[bytes]) -> None:
        self._writer.write(b"".join(block))
        block.clear()
        await self._writer.drain()

    async def _ask(self, method: Frame, answer: type[Method]) -> Method:
        async with asyncio.timeout(ANSWER_S_MAX):
            self._writer.write(frame.marshal(method, CHANNEL))
            while True:
                found = await self._method()
                if isinstance(found, answer):
                    return found
                if isinstance(found, commands.Channel.Close | commands.Connection.Close):
                    raise RuntimeError(f"the broker closed the channel: {found.reply_text}")

    async def _method(self) -> object:
        kind, payload = await self._frame()
        if kind != _METHOD:
            return None
        whole = struct.pack(">BHI", kind, CHANNEL, len(payload)) + payload + b"\xce"
        return frame.unmarshal(whole)[2]

    async def _frame(self) -> tuple[int, bytes]:
        """The type and the payload of the next frame."""
        buffer = self._buffer
        while True:
            if len(buffer) >= 7:
                kind, _, size = struct.unpack_from(">BHI", buffer)
                if len(buffer) >= size + 8:
                    payload = bytes(buffer[7 : 7 + size])
                    del buffer[: size + 8]
                    return kind, payload
            data = await self._reader.read(READ_BYTES)
            if not data:
                raise RuntimeError("the broker hung up")
            buffer += data


def _content(message_id: str, body: bytes) -> bytes:
    properties = commands.Basic.Properties(content_type="application/json", delivery_mode=2, message_id=message_id)
    head = frame.marshal(header.ContentHeader(body_size=len(body), properties=properties), CHANNEL)
    return head + struct.pack(">BHI", _BODY, CHANNEL, len(body)) + body + b"\xce"


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[RawChannel]:
    """A channel at this ``amqp://`` address."""
    parts = urlsplit(url)
    async with asyncio.timeout(ANSWER_S_MAX):
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port or PORT)
    channel = RawChannel(reader, writer)
    try:
        await _greet(channel, writer, parts.username or "guest", parts.password or "guest", parts.path)
        yield channel
    finally:
        await channel.close()


async def _greet(channel: RawChannel, writer: asyncio.StreamWriter, user: str, password: str, path: str) -> None:
    async def wait(wanted: type[Frame]) -> None:
        while not isinstance(found := await channel._method(), wanted):
            if isinstance(found, commands.Connection.Close):
                raise RuntimeError(f"the broker refused: {found.reply_text}")

    secret = f"\0{unquote(user)}\0{unquote(password)}"
    vhost = unquote(path.removeprefix("/")) or "/"
    async with asyncio.timeout(ANSWER_S_MAX):
        writer.write(b"AMQP\x00\x00\x09\x01")
        await wait(commands.Connection.Start)
        writer.write(frame.marshal(commands.Connection.StartOk(client_properties={}, response=secret), 0))
        await wait(commands.Connection.Tune)
        writer.write(frame.marshal(commands.Connection.TuneOk(1, FRAME_MAX, 0), 0))
        writer.write(frame.marshal(commands.Connection.Open(virtual_host=vhost), 0))
        await wait(commands.Connection.OpenOk)
        writer.write(frame.marshal(commands.Channel.Open(), CHANNEL))
        await wait(commands.Channel.OpenOk)
        writer.write(frame.marshal(commands.Confirm.Select(), CHANNEL))
        await wait(commands.Confirm.SelectOk)
