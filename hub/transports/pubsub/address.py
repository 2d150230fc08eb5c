"""``pubsub://PROJECT?option=value``: everything about Pub/Sub that can be set, in the broker's address.

Source: docs/pubsub.md, "The address".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from hub.errors import ConfigError, Problem
from hub.routing.fields import nearest

MIB = 1024 * 1024
_PROJECT: Final = re.compile(r"([a-z0-9.-]+:)?[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_WORDS: Final = {"yes": True, "no": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class PubSubAddress:
    """One project and how the hub uses it. Sizes are bytes, times are seconds."""

    project: str
    create: bool = True
    """Make what is missing; ``create=no`` only checks, for a process without the right to create."""
    exactly_once: bool = False
    """Subscriptions that the hub makes hand out a message again only when its acknowledgement was not confirmed."""
    ack_deadline_s: int = 60
    """How long a message that a dead process had in hand stays away. A living one extends it."""
    outstanding_messages: int = 1_000
    """How many messages of one subscription may be in hand at once."""
    outstanding_bytes: int = 64 * MIB
    endpoint: str = ""
    """A regional endpoint, such as europe-west1-pubsub.googleapis.com:443: order holds within one region."""

    @classmethod
    def parse(cls, text: str) -> PubSubAddress:
        """Read the address. Raises ConfigError, which lists every mistake."""
        try:
            parts = urlsplit(text)
        except ValueError as error:
            raise ConfigError([_wrong("expected pubsub://PROJECT, found what is no address")]) from error
        problems: list[Problem] = []
        if not _PROJECT.fullmatch(parts.netloc) or parts.path not in ("", "/"):
            problems.append(_wrong(f"expected pubsub://PROJECT, found pubsub://{parts.netloc}{parts.path}"))
        known = {field.name: field.type for field in fields(cls) if field.name != "project"}
        values: dict[str, Any] = {}
        for name, value in parse_qsl(parts.query, keep_blank_values=True):
            if name not in known:
                problems.append(_wrong(f"unknown option {name!r}; {nearest(name, known)}"))
                continue
            try:
                values[name] = _read(name, str(known[name]), value)
            except ValueError as error:
                problems.append(_wrong(f"{name}: {error}, found {value!r}"))
        if problems:
            raise ConfigError(problems)
        return cls(project=parts.netloc, **values)

    def topic(self, name: str) -> str:
        """The full resource name of a topic."""
        return f"projects/{self.project}/topics/{name}"

    def subscription(self, name: str) -> str:
        """The full resource name of a subscription."""
        return f"projects/{self.project}/subscriptions/{name}"


def _wrong(message: str) -> Problem:
    return Problem(f"HUB_BROKER_URL: {message}")


_BOUNDS: Final = {"ack_deadline_s": (10, 600), "outstanding_messages": (1, 100_000), "outstanding_bytes": (MIB, 2**31)}


def _read(name: str, kind: str, value: str) -> object:
    if kind == "bool":
        if value not in _WORDS:
            raise ValueError("expected yes or no")
        return _WORDS[value]
    if kind == "str":
        return value
    low, high = _BOUNDS[name]
    if not value.isascii() or not value.isdigit() or not low <= int(value) <= high:
        raise ValueError(f"expected a number from {low} to {high}")
    return int(value)
