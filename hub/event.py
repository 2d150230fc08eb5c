"""The event: what came in, exactly as it came, with its name, its identity and how its sender was proven.

Source: docs/guarantees.md, G1 and G7.
"""

from __future__ import annotations

import builtins
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from typing import Any, TypeVar, cast
from uuid import UUID, SafeUUID

from pydantic import BaseModel

from hub.formbody import parse_body

M = TypeVar("M", bound=BaseModel)

LANES = 256
"""How many lanes the work is divided into. Fixed for ever: the number is stored in every row."""


class Verdict(StrEnum):
    """How the sender of an event was proven."""

    VALID = "valid"  # the source's scheme accepted it
    TRUSTED = "trusted"  # made by the hub, by an operator or read from a queue that needs a login
    NONE = "none"  # the source allows unauthenticated senders, by an explicit switch
    UNDECIDED = "undecided"  # to be proven by a handler
    SIMULATED = "simulated"  # a provider's simulator, where that is switched on


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One accepted event.

    ``payload`` holds the bytes as received; ``data`` is what they say (numbers with a fraction are ``Decimal``).
    ``seq`` is the order of acceptance, drawn from the database; 0 before that.
    ``key`` names the thing whose order matters, ``after`` further things whose earlier events must be done first.
    """

    id: UUID
    source: str
    type: str
    key: str | None
    dedupe_id: str | None
    occurred_at: datetime
    received_at: datetime
    content_type: str
    payload: bytes
    headers: Mapping[str, str]
    traceparent: str
    verdict: Verdict
    after: tuple[str, ...] = ()
    hops: int = 0
    seq: int = 0
    routing_key: str = ""
    message_id: str = ""
    _data: list[Any] = field(default_factory=list, repr=False, compare=False)
    _models: dict[builtins.type[BaseModel], BaseModel] = field(default_factory=dict, repr=False, compare=False)

    @property
    def data(self) -> Any:
        """The parsed payload, read once. Raises UnreadableError when it is neither JSON nor a form that says so."""
        if not self._data:
            self._data.append(parse_body(self.payload, self.content_type))
        return self._data[0]

    def read_as(self, model: builtins.type[M]) -> M:
        """The payload as this model, read once where the model is frozen. Raises pydantic's ValidationError."""
        known = self._models.get(model)
        if known is not None:
            return cast(M, known)
        # From our own reading: pydantic's would make floats of the fractions of what a model leaves open.
        read = model.model_validate(self.data)
        if model.model_config.get("frozen"):
            self._models[model] = read
        return read

    def forget_data(self) -> None:
        """Where a model of the payload is at hand, keep that alone: ``data`` is read anew if anybody asks for it."""
        if self._models:
            self._data.clear()

    @property
    def trace_id(self) -> str:
        """The W3C trace id, 32 hex digits."""
        return trace_id_of(self.traceparent)

    @property
    def lane(self) -> int:
        """The unit of ownership this event belongs to; an event without a key is its own."""
        return lane_of(self.chain_key)

    @property
    def chain_key(self) -> str:
        """What names this event's chain on each route: its key, or itself when it has none."""
        return self.key if self.key is not None else str(self.id)


class _RandomPool:
    """The system's random bytes, fetched many at a time: a call for each id takes longer than all the rest of it."""

    def __init__(self) -> None:
        self.forget()
        os.register_at_fork(after_in_child=self.forget)

    def forget(self) -> None:
        """A process and its fork must not give the same ids."""
        self._bytes, self._at = b"", 0

    def __call__(self, count: int) -> bytes:
        if self._at + count > len(self._bytes):
            self._bytes, self._at = os.urandom(RANDOM_BYTES_FETCHED), 0
        self._at += count
        return self._bytes[self._at - count : self._at]


RANDOM_BYTES_FETCHED = 4_096
_random_bytes = _RandomPool()


def uuid7(now_s: float | None = None) -> UUID:
    """A time-ordered UUID (RFC 9562, version 7): 48 bits of milliseconds, 74 random bits."""
    now_ms = int((time.time() if now_s is None else now_s) * 1000)
    random_bits = int.from_bytes(_random_bytes(10), "big")
    value = (now_ms & (2**48 - 1)) << 80 | 0x7 << 76 | (random_bits >> 68 & 0xFFF) << 64 | 0b10 << 62
    return _uuid_of(value | random_bits & (2**62 - 1))


def _uuid_of(value: int) -> UUID:
    """The same as ``UUID(int=value)``, which looks at six arguments first, in a third of the time."""
    made = _NEW(UUID)
    _SET(made, "int", value)
    _SET(made, "is_safe", _IS_SAFE_UNKNOWN)
    return made


_NEW, _SET = object.__new__, object.__setattr__
_IS_SAFE_UNKNOWN = SafeUUID.unknown
"""Looked up once: a member of an enumeration is found by a function in Python."""
_SIZES_MAX = 256
_SIZES = tuple(size.to_bytes(8, "big") for size in range(_SIZES_MAX))


def stable_hash(*parts: str | bytes) -> bytes:
    """16 bytes that stand for these parts for ever: lengths are hashed too, so ("a", "bc") differs from ("ab", "c")."""
    pieces: list[bytes] = []
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        size = len(data)
        pieces += (_SIZES[size] if size < _SIZES_MAX else size.to_bytes(8, "big"), data)
    return blake2b(b"".join(pieces), digest_size=16).digest()


def stable_uuid(*parts: str | bytes) -> UUID:
    """A UUID that stands for these parts for ever (RFC 9562, version 8)."""
    value = int.from_bytes(stable_hash(*parts), "big")
    return UUID(int=value & ~(0xF << 76) & ~(0b11 << 62) | 0x8 << 76 | 0b10 << 62)


def stable_uuid_text(*parts: str | bytes) -> str:
    """``stable_uuid`` as text, for where nobody needs the object."""
    data = bytearray(stable_hash(*parts))
    data[6], data[8] = data[6] & 0x0F | 0x80, data[8] & 0x3F | 0x80
    text = data.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


ROUTE_BITS = 16
KEYS_REMEMBERED = 8_192
"""Keys come again: at once for the next step of the same event, and soon for the next event of the same customer."""


def delivery_id_of(event_seq: int, route_id: int) -> int:
    """A delivery's number: its event's followed by its route's, so that the pair itself is the primary key."""
    return event_seq << ROUTE_BITS | route_id


def route_id_of(delivery_id: int) -> int:
    return delivery_id & (1 << ROUTE_BITS) - 1


@lru_cache(maxsize=KEYS_REMEMBERED)
def lane_of(key: str) -> int:
    """The lane of everything that shares this key, so that a chain never crosses a lane."""
    return stable_hash(key)[0] % LANES


@lru_cache(maxsize=KEYS_REMEMBERED)
def chain_of(route_id: int, key: str) -> int:
    """A signed 64-bit name of the chain (route, key). Two chains that collide merely wait for each other."""
    return int.from_bytes(stable_hash(str(route_id), key)[:8], "big", signed=True)


@lru_cache(maxsize=KEYS_REMEMBERED)
def outbox_chain_of(destination: str, key: str) -> int:
    """A signed 64-bit name of the chain (destination, key): the order in which messages leave."""
    return int.from_bytes(stable_hash("outbox", destination, key)[:8], "big", signed=True)


def trace_id_of(traceparent: str) -> str:
    """The trace id in a W3C trace context, 32 hex digits."""
    return traceparent[3:35]


def new_traceparent() -> str:
    """A fresh W3C trace context, sampled. Trace ids of ours begin with the time: neighbours in the inbox's index."""
    bits = _random_bytes(20).hex()
    return f"00-{_timed(bits)}{bits[4:20]}-{bits[20:36]}-01"


def new_trace_id() -> str:
    """A fresh trace id. Its first half begins with the time; the second is random alone, since samplers go by it."""
    bits = _random_bytes(10).hex()
    return f"{_timed(bits)}{bits[4:]}"


def _timed(bits: str) -> str:
    """16 hex digits that rise, as those of ``uuid7``: the milliseconds, the version, three digits by chance."""
    return f"{int(time.time() * 1000) & 2**48 - 1:012x}7{bits[:3]}"
