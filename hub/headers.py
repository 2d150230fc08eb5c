"""Which headers are kept with an event: bounded, printable, and nothing that opens a door."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import lru_cache

from hub.errors import UnreadableError

HEADERS_MAX = 100
HEADER_BYTES_MAX = 8 * 1024
"""One name and its value."""
HEADERS_BYTES_MAX = 32 * 1024
"""All names and values together."""

_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# A word in the name is enough: a new secret header of some provider must not wait for us to learn of it.
_SECRET = re.compile(
    r"(^|[-_.])(auth|authorization|authentication|cookie2?|token|secret|signature|sig|hmac|passw(or)?d|credentials?"
    r"|session|jwt|assertion|otp|pin|key|apikey)([-_.]|$)|api-?key|access-?token|amz-security|client-cert"
)
_CARRIER = frozenset(
    {
        *("connection", "content-length", "content-type", "expect", "host", "keep-alive", "proxy-connection", "te"),
        *("trailer", "transfer-encoding", "upgrade", "via", "forwarded", "x-real-ip", "true-client-ip"),
        *("x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto", "cf-connecting-ip"),
    }
)
"""Of the connection, not of the event; addresses are personal data, the content type has a column of its own."""


def clean_headers(
    pairs: Iterable[tuple[str, str]], *, drop: Collection[str] = (), keep: Collection[str] = ()
) -> dict[str, str]:
    """The headers to keep with an event: lower-case names, secrets and the connection's own left out.

    A header whose name speaks of a key, token, signature or the like is dropped, as is every name in ``drop`` (those
    that the source's scheme reads), unless ``keep`` names it. Repeated headers are joined with ", ".

    Raises: UnreadableError for a control character or line break, or when a bound is passed.
    """
    kept: dict[str, str] = {}
    size = count = 0
    for raw_name, value in pairs:
        name, is_name, is_left_out = _judged(raw_name) if len(raw_name) <= NAME_CHARS_REMEMBERED else _judge(raw_name)
        count += 1
        length = len(name) + len(value)
        size += length
        if not is_name:
            raise UnreadableError("expected a header name of letters, digits and dashes", field="headers")
        if _CONTROL.search(value):
            raise UnreadableError("expected no control characters or line breaks", field=f"headers.{name}")
        if length > HEADER_BYTES_MAX:
            raise UnreadableError(f"expected at most {HEADER_BYTES_MAX} bytes", field=f"headers.{name}")
        if (not is_left_out and name not in drop) or name in keep:
            text = value.strip()
            if not text.isascii():
                # Bytes that are not UTF-8 arrive as lone surrogates, which no database stores.
                text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
            kept[name] = f"{kept[name]}, {text}" if name in kept else text
    if count > HEADERS_MAX or size > HEADERS_BYTES_MAX:
        raise UnreadableError(f"expected at most {HEADERS_MAX} headers of {HEADERS_BYTES_MAX} bytes", field="headers")
    return kept


NAME_CHARS_REMEMBERED = 64
"""Senders choose the names: what is remembered of them stays small."""


def _judge(raw_name: str) -> tuple[str, bool, bool]:
    """The name in lower case, whether it is one, and whether it is always left out."""
    name = raw_name.lower()
    return name, _NAME.fullmatch(name) is not None, is_secret(name) or name in _CARRIER


_judged = lru_cache(maxsize=1_024)(_judge)


def usable_headers(pairs: Iterable[tuple[str, str]]) -> tuple[dict[str, str], int]:
    """The headers to keep of a message that cannot be refused for them, and how many had to be left out.

    A queue hands a message out again until it is taken: one bad header must not hold up all that lies behind it.
    """
    kept: dict[str, str] = {}
    size = left_out = 0
    for name, value in pairs:
        size += len(name) + len(value)
        try:
            one = clean_headers([(name, value)])
        except UnreadableError:
            one = None
        if one is None or size > HEADERS_BYTES_MAX or len(kept) >= HEADERS_MAX:
            left_out += 1
            size -= len(name) + len(value)
        else:
            kept |= one
    return kept, left_out


def is_secret(name: str) -> bool:
    """Whether the name of a header speaks of something that opens a door."""
    return _SECRET.search(name.lower()) is not None
