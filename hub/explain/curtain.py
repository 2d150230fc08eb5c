"""Hides what must not be shown: fields that the source masks wherever their values turn up, and secrets by their names.

A handler copies fields of its event into messages, errors and requests under names of its own. So the values found
under the masked paths are looked for in every text of an explanation, not only in the event's own payload.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel, SecretStr

from hub.errors import UnreadableError
from hub.event import Event
from hub.operate.masking import Mask
from hub.routing.explain import MASKED

HIDDEN_CHARS_MIN: Final = 4
"""A shorter value is hidden in its own field only: it would be found in every other word."""
ANYWHERE_CHARS_MIN: Final = 8
"""A shorter value is looked for as a word of its own, or it would be found in ids and hashes by chance."""
DEPTH_MAX: Final = 32

_SECRET: Final = re.compile(
    r"secret|passw|authorization|signature|api[_-]?key|(^|[_-])token$|access[_-]?token|refresh[_-]?token|cookie"
    r"|credential|private[_-]?key",
    re.IGNORECASE,
)


class Curtain:
    """What is hidden in the explanation of one event."""

    def __init__(self, mask: Mask, paths: Sequence[str], event: Event) -> None:
        self._mask = mask
        texts = sorted(set(_hidden_texts(paths, event)), key=len, reverse=True)
        self._hidden = re.compile("|".join(map(_pattern, texts))) if texts else None

    def payload(self, payload: bytes, *, raw: bool) -> str:
        """A payload as text."""
        if raw:
            return payload.decode("utf-8", errors="replace")
        return self.text(self._mask.payload(payload))

    def headers(self, headers: Mapping[str, str], *, raw: bool) -> dict[str, str]:
        """Headers; those that hold secrets are hidden always."""
        shown = dict(headers) if raw else self._mask.headers(headers)
        return {name: MASKED if _SECRET.search(name) else value for name, value in shown.items()}

    def text(self, text: str) -> str:
        """A text without the values that are hidden."""
        return text if self._hidden is None else self._hidden.sub(MASKED, text)

    def over(self, shown: dict[str, Any]) -> dict[str, Any]:
        """JSON values without the values that are hidden."""
        return {name: self._over(value) for name, value in shown.items()}

    def _over(self, value: Any) -> Any:
        match value:
            case str():
                return self.text(value)
            case dict():
                return self.over(value)
            case list():
                return [self._over(item) for item in value]
        return value


def plain_request(request: Any) -> Any:
    """A request to a provider as JSON values, secrets hidden by the names of their fields."""
    if isinstance(request, BaseModel):
        request = request.model_dump(mode="json", by_alias=True)
    return _without_secrets(request, 0)


def _without_secrets(value: Any, depth: int) -> Any:
    if depth > DEPTH_MAX:
        return "…"
    match value:
        case None | bool() | int() | str():
            return value
        case SecretStr():
            return MASKED
        case BaseModel():
            return plain_request(value)
        case Mapping():
            return {
                str(name): MASKED if _SECRET.search(str(name)) else _without_secrets(item, depth + 1)
                for name, item in value.items()
            }
        case list() | tuple() | set() | frozenset():
            return [_without_secrets(item, depth + 1) for item in value]
    if hasattr(value, "__dataclass_fields__"):
        return _without_secrets({name: getattr(value, name) for name in value.__dataclass_fields__}, depth + 1)
    return str(value)


def _pattern(text: str) -> str:
    escaped = re.escape(text)
    return escaped if len(text) >= ANYWHERE_CHARS_MIN else rf"(?<!\w){escaped}(?!\w)"


def _hidden_texts(paths: Sequence[str], event: Event) -> Iterator[str]:
    try:
        roots: dict[str, Any] = {"data": event.data if paths else None}
    except UnreadableError:
        roots = {}
    for path in paths:
        root, _, rest = path.partition(".")
        if root == "headers":
            found = _leaves(event.headers.get(rest.lower()))
        else:
            found = _leaves_at(roots.get(root), rest.split("."))
        for leaf in found:
            if len(leaf) >= HIDDEN_CHARS_MIN:
                # Also as it stands inside JSON text.
                yield from (leaf, json.dumps(leaf, ensure_ascii=False)[1:-1], json.dumps(leaf)[1:-1])


def _leaves_at(value: Any, path: Sequence[str]) -> Iterator[str]:
    if not path:
        yield from _leaves(value)
    elif isinstance(value, dict):
        yield from _leaves_at(value.get(path[0]), path[1:])
    elif isinstance(value, list) and path[0].isascii() and path[0].isdigit():
        yield from _leaves_at(value[int(path[0])] if int(path[0]) < len(value) else None, path[1:])
    elif isinstance(value, list):
        # As the mask itself reads it: the field in each element.
        for item in value:
            yield from _leaves_at(item, path)


def _leaves(value: Any) -> Iterator[str]:
    match value:
        case None | bool():
            return
        case dict():
            for item in value.values():
                yield from _leaves(item)
        case list():
            for item in value:
                yield from _leaves(item)
        case _:
            yield str(value)
