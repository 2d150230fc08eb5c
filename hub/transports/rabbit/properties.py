"""The properties of a message as bytes, and back: the few that nearly all messages have, without a library's loops.

What is unusual (other properties, headers that are no text) goes through pamqp, which knows all of it and is ten times
slower. Source: AMQP 0-9-1, "The Content Header" and "Field Tables"; docs/rabbitmq.md, "Messages", "Speed".
"""

from __future__ import annotations

import base64
import json
import struct
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from pamqp import commands as spec
from pamqp.header import ContentHeader

PERSISTENT: Final = 2
TEXTS_REMEMBERED: Final = 1_024
NAME_BYTES_MAX: Final = 128
OTHER_PROPERTIES: Final = ("correlation_id", "reply_to", "app_id", "user_id", "content_encoding")
"""Properties that have no field of their own: they are read as headers called ``amqp-correlation-id`` and so on."""
UNREADABLE: Final = {"amqp-properties": "unreadable"}
"""The headers of a message whose properties nobody can read. It is not refused: it would come again for ever."""

_CONTENT_TYPE, _HEADERS, _DELIVERY_MODE, _PRIORITY = 1 << 15, 1 << 13, 1 << 12, 1 << 11
_MESSAGE_ID, _TIMESTAMP = 1 << 7, 1 << 6
_USUAL: Final = _CONTENT_TYPE | _HEADERS | _DELIVERY_MODE | _PRIORITY | _MESSAGE_ID | _TIMESTAMP
_CLASS: Final = 60
_START: Final = struct.Struct(">HHQH")
_LENGTH: Final = struct.Struct(">I")
_TEXT: Final = struct.Struct(">cI")
_SECONDS: Final = struct.Struct(">Q")
_FRAME: Final = struct.Struct(">BHI")
_HEADER_FRAME, _FRAME_END = 2, b"\xce"


# Not frozen, which would take several times as long to make: there is one for each message, and nobody changes it.
@dataclass(slots=True)
class Properties:
    """What is read of a message's properties; ``headers`` are texts, and hold what has no field of its own."""

    content_type: str
    headers: dict[str, str]
    message_id: str | None
    timestamp: datetime | None


def header_frame(
    *, body_bytes: int, message_id: str, content_type: str, headers: Mapping[str, str], channel: int
) -> bytes:
    """The header frame of a persistent message that is sent now.

    Raises ValueError, TypeError or struct.error where AMQP has no way to say it.
    """
    flags, parts = _HEADERS | _DELIVERY_MODE | _MESSAGE_ID | _TIMESTAMP, []
    if content_type:
        flags |= _CONTENT_TYPE
        parts.append(_short(content_type))
    table = b"".join([_name(name) + _long(value) for name, value in headers.items()])
    parts += (_LENGTH.pack(len(table)), table, _MODE, _short(message_id), _SECONDS.pack(int(time.time())))
    properties = b"".join(parts)
    start = _START.pack(_CLASS, 0, body_bytes, flags)
    size = len(start) + len(properties)
    return b"".join((_FRAME.pack(_HEADER_FRAME, channel, size), start, properties, _FRAME_END))


def read_header(frame: bytes) -> tuple[int, Properties]:
    """The size of the body and the properties, from a header frame without its envelope.

    Raises struct.error where not even the size can be read.
    """
    _, _, size, flags = _START.unpack_from(frame)
    try:
        found = _read_usual(frame, flags)
    except MISREAD:
        found = None
    if found is None:
        try:
            found = _read_by_library(frame)
        except MISREAD:
            found = Properties("", dict(UNREADABLE), None, None)
    return size, found


# Tables within tables are read by a function that calls itself: a frame has room for thousands of them.
MISREAD: Final = (
    *(ValueError, OverflowError, OSError, IndexError, KeyError, TypeError, ArithmeticError),
    *(struct.error, RecursionError),
)


def _read_usual(frame: bytes, flags: int) -> Properties | None:
    """None where there are other properties, or a header is something other than text."""
    if flags & ~_USUAL:
        return None
    at, content_type, message_id, timestamp = _START.size, "", None, None
    headers: dict[str, str] = {}
    if flags & _CONTENT_TYPE:
        content_type, at = _read_short(frame, at)
    if flags & _HEADERS:
        end = at + _LENGTH.size + _LENGTH.unpack_from(frame, at)[0]
        at += _LENGTH.size
        while at < end:
            name, at = _read_short(frame, at)
            kind, length = _TEXT.unpack_from(frame, at)
            if kind != b"S":
                return None
            at += _TEXT.size
            headers[name] = frame[at : at + length].decode()
            at += length
    at += bool(flags & _DELIVERY_MODE) + bool(flags & _PRIORITY)
    if flags & _MESSAGE_ID:
        message_id, at = _read_short(frame, at)
    if flags & _TIMESTAMP:
        timestamp = _time(_SECONDS.unpack_from(frame, at)[0])
        at += _SECONDS.size
    return Properties(content_type, headers, message_id or None, timestamp) if at == len(frame) else None


def _read_by_library(frame: bytes) -> Properties:
    header = ContentHeader()
    header.unmarshal(frame)
    return read_properties(header.properties)


def read_properties(properties: spec.Basic.Properties) -> Properties:
    """The same from what pamqp has read."""
    headers = {name: text_of(value) for name, value in (properties.headers or {}).items()}
    for name in OTHER_PROPERTIES:
        value = getattr(properties, name)
        if value:
            headers.setdefault(f"amqp-{name.replace('_', '-')}", text_of(value))
    return Properties(
        text_of(properties.content_type), headers, text_of(properties.message_id) or None, _utc(properties.timestamp)
    )


def text_of(value: Any) -> str:
    """A header's value as text: tables and lists as JSON, bytes that are no text as base64."""
    match value:
        case str():
            return value
        case None:
            return ""
        case bytes() | bytearray():
            try:
                return bytes(value).decode()
            except UnicodeDecodeError:
                return base64.b64encode(value).decode()
        case bool():
            return "true" if value else "false"
        case datetime():
            return value.isoformat()
        case Mapping() | list():
            return json.dumps(value, default=text_of, ensure_ascii=False)
        case _:
            return str(value)


_MODE: Final = bytes((PERSISTENT,))


@lru_cache(maxsize=TEXTS_REMEMBERED)
def _name(text: str) -> bytes:
    name = text.encode()
    if len(name) > NAME_BYTES_MAX:
        raise ValueError(f"a header's name takes {len(name)} bytes, more than {NAME_BYTES_MAX}")
    return bytes((len(name),)) + name


def _short(text: str) -> bytes:
    data = text.encode()
    if len(data) > 255:
        raise ValueError(f"{len(data)} bytes where 255 are the most")
    return bytes((len(data),)) + data


def _long(text: str) -> bytes:
    data = text.encode()
    return _TEXT.pack(b"S", len(data)) + data


def _read_short(frame: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + frame[at]
    return frame[at + 1 : end].decode(), end


def _time(seconds: int) -> datetime | None:
    """None for what no calendar holds, such as nanoseconds: it must not cost the message its id."""
    # Above the year 2106 it is somebody's milliseconds.
    with suppress(ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(seconds / 1000 if seconds > 0xFFFFFFFF else seconds, tz=UTC)
    return None


def _utc(value: datetime | None) -> datetime | None:
    if value is None:
        return None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
