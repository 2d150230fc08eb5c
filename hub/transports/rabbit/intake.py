"""Reading frames in bulk: three frames cost one look into a buffer instead of nine awaits and a queue.

Only deliveries of channels that asked for it are taken out; every other frame goes the way of aiormq. This leans on
parts of aiormq that it does not promise to keep: where one is missing, ``attach`` says so and nothing changes.
Source: AMQP 0-9-1, "General Frame Format", "Content Framing"; docs/rabbitmq.md, "Speed".
"""

from __future__ import annotations

import inspect
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import aiormq
import pamqp.frame
from aiormq.exceptions import AMQPConnectionError, InvalidFrameError
from pamqp.exceptions import PAMQPException
from pamqp.heartbeat import Heartbeat

from hub.transports.rabbit.messages import Arrived
from hub.transports.rabbit.properties import MISREAD, Properties, read_header, text_of

CHUNK_BYTES: Final = 256 * 1024
_HEAD: Final = struct.Struct(">BHI")
_METHOD: Final = struct.Struct(">HH")
_TAG: Final = struct.Struct(">Q?")
_METHOD_FRAME, _HEADER_FRAME, _BODY_FRAME, _FRAME_END = 1, 2, 3, 0xCE
_DELIVER: Final = (60, 60)  # the class basic, the method deliver
_DELIVER_BYTES: Final = _METHOD.pack(*_DELIVER)
KEYS_REMEMBERED: Final = 1_024
_ALIVE: Final = (8, 0, Heartbeat())
"""What aiormq is told when a chunk held nothing for it: that the broker lives."""


_NONE_YET: Final = Properties("", {}, None, None)

Take = Callable[[Arrived], None]


@dataclass(slots=True)
class _Open:
    """A delivery whose frames have not all come yet."""

    message: Arrived
    missing: int = -1
    parts: list[bytes] = field(default_factory=list)


class Intake:
    """Stands in for the reading of one connection's frames."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self._rest = b""
        self._others: deque[tuple[int, int, Any]] = deque()
        self._takers: dict[int, Take] = {}
        self._open: dict[int, _Open] = {}

    def take_from(self, channel: int, take: Take) -> None:
        """Hand deliveries on this channel to ``take``, in their order, as they are read."""
        if self._takers.get(channel) != take:
            # Another one's; a further queue of the same reader must not cut a message of the first in two.
            self._open.pop(channel, None)
        self._takers[channel] = take

    def leave(self, channel: int, take: Take) -> None:
        """The channel has gone. Its number may be another one's by now, which is left alone."""
        if self._takers.get(channel) == take:
            del self._takers[channel]
            self._open.pop(channel, None)

    async def get_frame(self) -> tuple[int, int, Any]:
        """The next frame that is not ours. Raises what aiormq's own reading raises."""
        while not self._others:
            try:
                chunk = await self._reader.read(CHUNK_BYTES)
            except OSError as error:
                raise AMQPConnectionError(f"Server connection error: {error!r}") from error
            if not chunk:
                raise AMQPConnectionError("Server connection unexpectedly closed")
            self.feed(chunk)
            if not self._others:
                return _ALIVE
        return self._others.popleft()

    def feed(self, chunk: bytes) -> None:
        """Take every whole frame from what has been read. Raises InvalidFrameError."""
        try:
            self._feed(chunk)
        except MISREAD as error:
            raise InvalidFrameError(f"a frame cannot be read: {type(error).__name__}") from error

    def _feed(self, chunk: bytes) -> None:
        data, at = self._rest + chunk if self._rest else chunk, 0
        while len(data) - at >= _HEAD.size:
            kind, channel, size = _HEAD.unpack_from(data, at)
            start, end = at + _HEAD.size, at + _HEAD.size + size
            if end >= len(data):
                break
            if data[end] != _FRAME_END:
                raise InvalidFrameError("a frame does not end where it says")
            take = self._takers.get(channel)
            if (
                take is not None
                and kind == _METHOD_FRAME
                and (behind := self._take_whole(data, channel, start, end, take))
            ):
                at = behind
                continue
            if take is None or not self._is_taken(kind, channel, data[start:end], take):
                self._others.append(_whole(data[at : end + 1]))
            at = end + 1
        self._rest = data[at:]

    def _take_whole(self, data: bytes, channel: int, start: int, end: int, take: Take) -> int:
        """Take a delivery whose frames lie here one behind the other, as nearly all do; where the next one begins.

        0 where this is none, or its frames have not all come: then each is taken by itself.
        """
        if data[start : start + _METHOD.size] != _DELIVER_BYTES:
            return 0
        head = _frame_behind(data, end, _HEADER_FRAME, channel)
        if head is None:
            return 0
        size, properties = read_header(data[head[0] : head[1]])
        message = _begun(data, start)
        message.properties, end = properties, head[1]
        if size:
            body = _frame_behind(data, end, _BODY_FRAME, channel)
            if body is None or body[1] - body[0] != size:
                return 0
            message.body, end = data[body[0] : body[1]], body[1]
        self._open.pop(channel, None)
        take(message)
        return end + 1

    def _is_taken(self, kind: int, channel: int, body: bytes, take: Take) -> bool:
        """Whether this frame was part of a delivery."""
        if kind == _METHOD_FRAME:
            if _METHOD.unpack_from(body) != _DELIVER:
                return False
            self._open[channel] = _Open(_begun(body, 0))
            return True
        begun = self._open.get(channel)
        if begun is None:
            return False
        if kind == _HEADER_FRAME:
            begun.missing, begun.message.properties = read_header(body)
        elif kind == _BODY_FRAME:
            begun.parts.append(body)
            begun.missing -= len(body)
        else:
            return False
        if begun.missing == 0:
            del self._open[channel]
            begun.message.body = b"".join(begun.parts)
            take(begun.message)
        return True


def attach(channel: aiormq.Channel, take: Take) -> bool:
    """Have this channel's deliveries handed to ``take``; False where this version of aiormq gives no way to do it.

    To be called before the channel consumes: a delivery must not begin with one reading and end with the other.
    """
    try:
        reading = channel.connection._reader_task.get_coro()  # type: ignore[attr-defined]  # AbstractConnection leaves it out
        receiver = inspect.getcoroutinelocals(reading)["frame_receiver"]
        intake = getattr(receiver.get_frame, "__self__", None)
        if not isinstance(intake, Intake):
            intake = Intake(receiver.reader)
            receiver.get_frame = intake.get_frame
    except (AttributeError, KeyError, TypeError):
        return False
    intake.take_from(channel.number, take)
    channel.closing.add_done_callback(lambda _: intake.leave(channel.number, take))
    return True


def _frame_behind(data: bytes, end: int, kind: int, channel: int) -> tuple[int, int] | None:
    """Where the content of the next frame begins and ends, if that is one of this kind and has come whole."""
    at = end + 1
    if len(data) - at < _HEAD.size:
        return None
    found, number, size = _HEAD.unpack_from(data, at)
    begin, end = at + _HEAD.size, at + _HEAD.size + size
    if found != kind or number != channel or end >= len(data) or data[end] != _FRAME_END:
        return None
    return begin, end


def _begun(data: bytes, at: int) -> Arrived:
    """What ``basic.deliver`` says: consumer tag, delivery tag, redelivered, exchange, routing key."""
    at += _METHOD.size
    at += 1 + data[at]
    tag, redelivered = _TAG.unpack_from(data, at)
    at += _TAG.size
    at += 1 + data[at]
    return Arrived(tag, redelivered, _routing_key(data[at + 1 : at + 1 + data[at]]), _NONE_YET)


@lru_cache(maxsize=KEYS_REMEMBERED)
def _routing_key(name: bytes) -> str:
    return text_of(name)


def _whole(data: bytes) -> tuple[int, int, Any]:
    try:
        return pamqp.frame.unmarshal(data)
    except PAMQPException as error:
        raise InvalidFrameError(str(error)) from error
