"""When two messages with one identity say the same: by what the source declares, never by raw bytes."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from json.encoder import encode_basestring_ascii as _quoted
from operator import itemgetter
from typing import Any

from hub.event import stable_hash
from hub.routing.extract import CompiledPath, Message
from hub.routing.sources import SameConfig


def sameness_hash(data: Any, same: SameConfig | None) -> bytes:
    """16 bytes that are equal exactly when two bodies say the same, by what the source compares.

    Objects are compared without regard to the order of their keys, numbers by their value (1, 1.0 and 1.00 are equal).
    """
    if same is None:
        return stable_hash(_canonical(data))
    message = Message(data)
    if same.only:
        paths = [CompiledPath(path) for path in same.only]
        return stable_hash(*(_canonical(path.value(message)) if path.exists(message) else "" for path in paths))
    return stable_hash(_canonical(_without(data, [path.split(".")[1:] for path in same.excluding])))


def _without(data: Any, paths: Sequence[Sequence[str]]) -> Any:
    # Copies only what lies on the way to something left out.
    gone = {path[0] for path in paths if len(path) == 1}
    if isinstance(data, dict):
        return {
            name: _without(value, [path[1:] for path in paths if len(path) > 1 and path[0] == name])
            for name, value in data.items()
            if name not in gone
        }
    if isinstance(data, list):
        return [
            _without(value, [path[1:] for path in paths if len(path) > 1 and path[0] == str(number)])
            for number, value in enumerate(data)
            if str(number) not in gone
        ]
    return data


def _canonical(value: Any) -> str:
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, dict):
        # Most members are texts, which need no second look at what they are.
        members = [
            f"{_quoted(name)}:{_quoted(item) if item.__class__ is str else _canonical(item)}"
            for name, item in sorted(value.items(), key=_NAME)
        ]
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_canonical, value)) + "]"
    if isinstance(value, Decimal):
        return _canonical_number(value)
    if value is None or isinstance(value, bool):
        return _WORDS[value]
    return _canonical_integer(value)


_NAME = itemgetter(0)
_WORDS = {None: "null", True: "true", False: "false"}


def _canonical_integer(value: int) -> str:
    # The same as that of the equal Decimal.
    text = str(abs(value))
    kept = text.rstrip("0")
    return f"{'-' if value < 0 else ''}{kept or '0'}e{len(text) - len(kept) if kept else 0}"


def _canonical_number(value: Decimal) -> str:
    # Not normalize(): it rounds to the context's 28 digits, and two long numbers would become equal.
    sign, digits, exponent = value.as_tuple()
    text = "".join(map(str, digits)).lstrip("0")
    kept = text.rstrip("0")
    return f"{'-' if sign and kept else ''}{kept or '0'}e{int(exponent) + len(text) - len(kept) if kept else 0}"
