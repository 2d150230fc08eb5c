"""Payloads and headers as people may see them: what the source's ``mask:`` names shows as asterisks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hub.errors import UnreadableError
from hub.jsonbody import parse_json, write_json
from hub.routing import SourceConfig
from hub.routing.explain import MASKED
from hub.routing.fields import RESERVED_SOURCES, SCHEDULE_PREFIX

TEXT_CHARS_MAX = 100_000


class Mask:
    """The paths of one source that are not to be shown."""

    def __init__(self, paths: Sequence[str]) -> None:
        parts = [path.partition(".") for path in paths]
        self._data = [rest.split(".") for root, _, rest in parts if root == "data" and rest]
        self._headers = frozenset(rest.lower() for root, _, rest in parts if root == "headers")

    @property
    def hides(self) -> bool:
        """Whether anything of a payload is hidden."""
        return bool(self._data)

    def payload(self, payload: bytes) -> str:
        """The payload as text. Nothing of it is shown when something is to be hidden and it cannot be read."""
        if not self._data:
            return _cut(payload.decode("utf-8", errors="replace"))
        try:
            data = parse_json(payload)
        except UnreadableError as error:
            return f"(not shown: it holds masked fields and cannot be read, {error})"
        for path in self._data:
            data = _hide(data, path)
        return _cut(write_json(data))

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """The headers, those to be hidden as asterisks."""
        return {name: MASKED if name.lower() in self._headers else value for name, value in headers.items()}


class HiddenMask(Mask):
    """For a source that routing.yaml does not know any more: what must not be shown is not known either."""

    def __init__(self, source: str) -> None:
        super().__init__(())
        self._source = source

    @property
    def hides(self) -> bool:
        """All of it."""
        return True

    def payload(self, payload: bytes) -> str:
        return f"(not shown: routing.yaml declares no source {self._source}, so what to mask is not known)"

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        return dict.fromkeys(headers, MASKED)


def mask_of(source: str, sources: Mapping[str, SourceConfig]) -> Mask:
    """What the source's declaration hides. Events that the hub itself makes hide nothing."""
    config = sources.get(source)
    if config is not None:
        return Mask(config.mask)
    if source in RESERVED_SOURCES or source.startswith(SCHEDULE_PREFIX):
        return Mask(())
    return HiddenMask(source)


def _hide(value: Any, path: Sequence[str]) -> Any:
    if not path:
        return MASKED
    first, rest = path[0], path[1:]
    if isinstance(value, dict):
        return {name: _hide(item, rest) if name == first else item for name, item in value.items()}
    if isinstance(value, list):
        if first.isascii() and first.isdigit():
            return [_hide(item, rest) if place == int(first) else item for place, item in enumerate(value)]
        # A path that does not say which element means the field in each of them.
        return [_hide(item, path) for item in value]
    return value


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_CHARS_MAX else f"{text[:TEXT_CHARS_MAX]}… ({len(text)} characters)"
