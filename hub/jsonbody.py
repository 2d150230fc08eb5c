"""Reading JSON that came from outside: strictly, exactly, and with the place of every mistake; and writing it again.

Numbers with a fraction become ``Decimal``; duplicate keys, NaN, Infinity, lone surrogates and deep nesting are refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from pydantic_core import from_json

from hub.errors import UnreadableError

DEPTH_MAX = 64
NUMBER_DIGITS_MAX = 400
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
# A text without an end is taken whole, and none is tried twice (``*+``): to look for its end again from each quote in
# it took 13 s for a body of 60 kB and an hour for 1 MiB, and nothing else of the hub ran meanwhile.
_NESTING = re.compile(rb'[\[{]|[\]}]|"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)


def parse_json(body: bytes) -> Any:
    """Parse one JSON document. Raises UnreadableError with the line and column of the mistake."""
    _refuse_deep_nesting(body)
    data = _parse_plain(body)
    return _parse_exactly(body) if data is _NOT_PLAIN else data


_NOT_PLAIN: Final = object()
_INTEGER_MAX: Final = 2**63


def _parse_plain(body: bytes) -> Any:
    """What a body says that holds nothing out of the way, in half the time; else, and for a mistake, ``_NOT_PLAIN``.

    Out of the way are a backslash, a number with a fraction, one beyond 64 bits, and a key that comes twice. Of such a
    key the quicker reader keeps the last: then fewer texts were read than the body has quotes for.
    """
    if b"\\" in body:
        return _NOT_PLAIN
    try:
        data = from_json(body, allow_inf_nan=False)
        texts = _texts_in(data)
    except ValueError:
        return _NOT_PLAIN
    return data if 2 * texts == body.count(b'"') else _NOT_PLAIN


def _texts_in(value: Any) -> int:
    """How many texts, names of members included. Raises ValueError for a number that is read another way."""
    kind = value.__class__
    if kind is str:
        return 1
    if kind is dict:
        count = len(value)
        for item in value.values():
            count += 1 if item.__class__ is str else _texts_in(item)
        return count
    if kind is list:
        return sum(map(_texts_in, value))
    if kind is float or (kind is int and not -_INTEGER_MAX <= value < _INTEGER_MAX):
        raise ValueError("a number that needs the exact reader")
    return 0


def _parse_exactly(body: bytes) -> Any:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        line, column = _place(body[: error.start])
        raise UnreadableError("expected UTF-8 text", line=line, column=column) from error
    try:
        _refuse_byte_order_mark(text)
        data = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise UnreadableError(f"expected JSON, {error.msg}", line=error.lineno, column=error.colno) from error
    except _DuplicateKey as error:
        line, column = _place_of_second(text, error.key)
        raise UnreadableError(f"the key {error.key!r} appears twice", line=line, column=column) from error
    except _BadNumber as error:
        line, column = _place(body[: max(body.find(error.literal.encode()), 0)])
        raise UnreadableError(
            f"expected a JSON number, found {error.literal[:40]}", line=line, column=column
        ) from error
    _refuse_lone_surrogates(body, data)
    return data


def write_json(data: Any, *, is_compact: bool = False) -> str:
    """JSON text of what ``parse_json`` gave: a ``Decimal`` keeps every digit, which ``json.dumps`` cannot do."""
    try:
        # All in one, which knows no Decimal; most messages have none.
        return (_COMPACT if is_compact else _SPACED).encode(data)
    except TypeError:
        return _write_part_by_part(data, is_compact=is_compact)


_COMPACT = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_SPACED = json.JSONEncoder(ensure_ascii=False)


def _write_part_by_part(data: Any, *, is_compact: bool) -> str:
    comma, colon = (",", ":") if is_compact else (", ", ": ")

    def write(part: Any) -> str:
        if isinstance(part, Mapping):
            return "{" + comma.join(f"{_text(name)}{colon}{write(item)}" for name, item in part.items()) + "}"
        if isinstance(part, list | tuple):
            return "[" + comma.join(write(item) for item in part) + "]"
        return str(part) if isinstance(part, Decimal) else _text(part)

    return write(data)


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


class _DuplicateKey(ValueError):
    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


class _BadNumber(ValueError):
    def __init__(self, literal: str) -> None:
        super().__init__(literal)
        self.literal = literal


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _DuplicateKey(key)
            seen.add(key)
    return result


def _decimal(literal: str) -> Decimal:
    if len(literal) > NUMBER_DIGITS_MAX:
        raise _BadNumber(literal)
    try:
        number = Decimal(literal)
    except InvalidOperation as error:  # an exponent that is too long even for Decimal
        raise _BadNumber(literal) from error
    if abs(number.adjusted()) > NUMBER_DIGITS_MAX:
        raise _BadNumber(literal)
    return number


def _integer(literal: str) -> int:
    if len(literal) > NUMBER_DIGITS_MAX:
        raise _BadNumber(literal)
    return int(literal)


def _refuse_constant(literal: str) -> Any:
    raise _BadNumber(literal)


# Made once: ``json.loads`` with these arguments makes a decoder for every text.
_DECODER = json.JSONDecoder(
    parse_float=_decimal, parse_int=_integer, parse_constant=_refuse_constant, object_pairs_hook=_object
)


def _refuse_byte_order_mark(text: str) -> None:
    if text.startswith("\ufeff"):
        raise json.JSONDecodeError("Unexpected UTF-8 BOM (decode using utf-8-sig)", text, 0)


def _refuse_deep_nesting(body: bytes) -> None:
    # Counted before parsing: the parser recurses, and a recursion error says nothing about the place.
    if body.count(b"[") + body.count(b"{") <= DEPTH_MAX:
        return
    depth = 0
    for token in _NESTING.finditer(body):
        first = token.group()[0]
        if first in b"[{":
            depth += 1
            if depth > DEPTH_MAX:
                line, column = _place(body[: token.start()])
                raise UnreadableError(f"nested deeper than {DEPTH_MAX} levels", line=line, column=column)
        elif first in b"]}":
            depth -= 1


def _refuse_lone_surrogates(body: bytes, data: Any) -> None:
    found = _SURROGATE.search(body) if b"\\u" in body else None
    if found is None:
        return
    try:
        json.dumps(data, ensure_ascii=False, default=str).encode("utf-8")
    except UnicodeEncodeError as error:
        line, column = _place(body[: found.start()])
        raise UnreadableError("half of a surrogate pair is not a character", line=line, column=column) from error


def _place(before: bytes) -> tuple[int, int]:
    line = before.count(b"\n") + 1
    return line, len(before) - (before.rfind(b"\n") + 1) + 1


def _place_of_second(text: str, key: str) -> tuple[int, int]:
    # The parser does not tell where; the second spelling of the key in the text is where a person should look.
    literal = json.dumps(key, ensure_ascii=False)
    first = text.find(literal)
    second = text.find(literal, first + 1) if first >= 0 else -1
    return _place(text[: max(second, 0)].encode())
