"""Applies what a source's ``event:`` declares to its messages: type, key, identity, time. The one place that does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from hub.errors import UnreadableError
from hub.routing.extract import CompiledPath, Extractor, Message, bounded, parse_time
from hub.routing.fields import is_path
from hub.routing.patterns import type_problem
from hub.routing.sources import BODY_HASH, ROUTING_KEY, EventConfig


class EventReader:
    """Reads what a source's ``event:`` declares out of its messages: the one place where the declaration is applied."""

    def __init__(self, config: EventConfig) -> None:
        self.config = config
        self._type = CompiledPath(config.type) if is_path(config.type) else None
        self._renamed = config.rename
        # Where all its messages are of one type, that is known before any has come.
        is_one = self._type is None and config.type != ROUTING_KEY
        fixed = config.rename.get(config.type, config.type)
        self._fixed_type = fixed if is_one and type_problem(fixed) is None else None
        self._key = Extractor(config.key)
        self._after = Extractor(config.after)
        self._occurred = Extractor(config.occurred)
        self._id = IdExtractor(config.id)
        self._zone = ZoneInfo(config.occurred_zone)

    def type(self, message: Message) -> str:
        """The event's type, after ``rename``. Raises UnreadableError when the message does not give one."""
        if self._fixed_type is not None:
            return self._fixed_type
        text = self.config.type
        if text == ROUTING_KEY:
            text = (message.message or {}).get(ROUTING_KEY, "")
        elif self._type is not None:
            text = self._type.text_of(message) or ""
        text = self._renamed.get(text, text)
        problem = type_problem(text)
        if problem is not None:
            raise UnreadableError(problem, field=self.config.type)
        return text

    def key(self, message: Message) -> str | None:
        """The thing whose order matters; None makes the event its own."""
        return self._key.first_of(message)

    def after(self, message: Message) -> tuple[str, ...]:
        """Further things whose earlier events must be done first."""
        return self._after.all_of(message)

    def dedupe_id(self, type_: str, message: Message, body: bytes) -> str | None:
        """What recognises a repeat; see ``IdExtractor``. ``without_identity`` is asked before, by the inbox."""
        return self._id.dedupe_id(type_, message, body)

    def occurred_at(self, message: Message) -> datetime | None:
        """When it happened, in UTC; None when the message does not say, or not in a form that can be read."""
        text = self._occurred.first_of(message)
        return None if text is None else parse_time(text, self._zone)


class IdExtractor:
    """What recognises a repeat, as ``event.id`` of a source says."""

    def __init__(self, alternatives: Sequence[Sequence[str]]) -> None:
        self._alternatives = tuple(tuple(_Part(part) for part in parts) for parts in alternatives)

    def dedupe_id(self, type_: str, message: Message, body: bytes) -> str | None:
        """The first identity that is present; None when none is, so that the message is an event of its own.

        One path gives its text; several parts give a JSON object of path and value, so that no two combinations look
        alike; the body gives ``sha256:`` and the hash of its bytes.
        """
        for parts in self._alternatives:
            if parts[0].name == BODY_HASH and len(parts) == 1:
                return _body_hash(body)
            found = _single(parts[0], message) if len(parts) == 1 else _composite(parts, type_, message, body)
            if found is not None:
                return found
        return None


class _Part:
    __slots__ = ("is_required", "name", "path")

    def __init__(self, text: str) -> None:
        self.name = text.removesuffix("?")
        self.is_required = not text.endswith("?")
        self.path = CompiledPath(self.name) if is_path(self.name) else None

    def text(self, type_: str, message: Message, body: bytes) -> str | None:
        if self.path is not None:
            return self.path.text_of(message)
        return _body_hash(body) if self.name == BODY_HASH else type_


def _body_hash(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def _single(part: _Part, message: Message) -> str | None:
    text = part.text("", message, b"")
    # A sender's text must not be able to look like one of the other forms.
    return _joined({part.name: text}) if text is not None and text.startswith(("{", "sha256:")) else text


def _composite(parts: Sequence[_Part], type_: str, message: Message, body: bytes) -> str | None:
    values: dict[str, str | None] = {}
    for part in parts:
        values[part.name] = part.text(type_, message, body)
        if values[part.name] is None and part.is_required:
            return None
    return _joined(values)


def _joined(values: Mapping[str, str | None]) -> str:
    return bounded(json.dumps(values, ensure_ascii=False, separators=(",", ":")))
