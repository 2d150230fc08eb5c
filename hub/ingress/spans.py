"""Where the members of a JSON object and the elements of an array stand in the text, so that bytes can be kept.

The text must have been parsed before: mistakes are looked for there, not here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

# Numbers stay text: only the places count, and a long number costs nothing then.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, strict=True)
_SPACE = re.compile(r"[ \t\n\r]*")

Span = tuple[int, int]


def member_spans(text: str, start: int = 0) -> dict[str, Span]:
    """Of the object that begins at ``start``, after white space: name → (begin, end) of the value."""
    return dict(_members(text, _skip(text, start) + 1))


def element_spans(text: str, start: int = 0) -> list[Span]:
    """Of the array that begins at ``start``: (begin, end) of each element."""
    spans: list[Span] = []
    at = _skip(text, _skip(text, start) + 1)
    while text[at] != "]":
        spans.append((at, _end(text, at)))
        at = _next(text, spans[-1][1])
    return spans


def _members(text: str, at: int) -> Iterator[tuple[str, Span]]:
    at = _skip(text, at)
    while text[at] != "}":
        name, at = _DECODER.raw_decode(text, at)
        begin = _skip(text, _skip(text, at) + 1)  # over the colon
        end = _end(text, begin)
        yield name, (begin, end)
        at = _next(text, end)


def _end(text: str, at: int) -> int:
    return _DECODER.raw_decode(text, at)[1]


def _next(text: str, at: int) -> int:
    at = _skip(text, at)
    return _skip(text, at + 1) if text[at] == "," else at


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at
