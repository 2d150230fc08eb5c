"""What two contents say differently, field by field."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import Any, Final

from hub.errors import UnreadableError
from hub.jsonbody import parse_json, write_json

SHOWN_MAX: Final = 20
CHARS_MAX: Final = 200
ABSENT: Final = "–"
_NOTHING: Final = object()


@dataclass(frozen=True, slots=True)
class Difference:
    """A field, and what stands there on either side."""

    path: str
    first: str
    second: str


def list_differences(first: str, second: str) -> list[Difference]:
    """The first fields that differ between two JSON texts; none where either is something else."""
    try:
        contents = parse_json(first.encode()), parse_json(second.encode())
    except UnreadableError:
        return []
    return list(islice(_between(*contents, ""), SHOWN_MAX))


def _between(first: Any, second: Any, path: str) -> Iterator[Difference]:
    if isinstance(first, dict) and isinstance(second, dict):
        for name in dict.fromkeys([*first, *second]):
            below = f"{path}.{name}" if path else name
            yield from _between(first.get(name, _NOTHING), second.get(name, _NOTHING), below)
    elif isinstance(first, list) and isinstance(second, list):
        for place, (one, other) in enumerate(zip_longest(first, second, fillvalue=_NOTHING)):
            yield from _between(one, other, f"{path}[{place}]")
    elif type(first) is not type(second) or first != second:
        yield Difference(path or "all of it", _written(first), _written(second))


def _written(value: Any) -> str:
    if value is _NOTHING:
        return ABSENT
    text = write_json(value)
    return text if len(text) <= CHARS_MAX else f"{text[:CHARS_MAX]}…"
