"""Reading values out of a message by path, and the times among them.

A value is *present* when it is a text that is not blank, a number or a boolean. Null, a blank text, an object and a
list are absent: an empty id would otherwise make one event of many.

As text, integers are their digits, numbers with a fraction keep every digit they came with (``135.0000``), booleans
are true and false. A text is taken exactly, without trimming; one that is too long to be a name, or holds a character
that databases refuse, is stood for by its beginning and a hash of the whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from hub.event import stable_hash

TEXT_CHARS_MAX: Final = 400
"""A longer value is stood for by its beginning and its hash; keys and identities are indexed."""
_HEAD_CHARS: Final = 60
_EPOCH_MS_MIN: Final = 10**11
_EPOCH_S_MAX: Final = 10**12
_ABSENT: Final = object()


# Not frozen, which would take several times as long to make: there is one for each message, and nobody changes it.
@dataclass(slots=True)
class Message:
    """What a path can reach: ``data`` is the parsed body, header names are in lower case.

    ``message`` holds message_id, routing_key and timestamp as the carrier gave them; empty texts are absent.
    """

    data: Any = None
    headers: Mapping[str, str] | None = None
    message: Mapping[str, str] | None = None


class CompiledPath:
    """One path, ready to be followed."""

    __slots__ = ("_parts", "_root", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._root, _, rest = text.partition(".")
        # A header's name may hold dots, and is compared without regard to case.
        self._parts = rest.split(".") if self._root == "data" else [rest.lower()]

    def value(self, message: Message) -> Any:
        """What stands at the path, as it is; None when nothing does."""
        found = self._find(message)
        return None if found is _ABSENT else found

    def exists(self, message: Message) -> bool:
        """Whether anything stands at the path, null included."""
        return self._find(message) is not _ABSENT

    def text_of(self, message: Message) -> str | None:
        """The value as text, None when it is absent."""
        return scalar_text(self.value(message))

    def _find(self, message: Message) -> Any:
        here: Any = getattr(message, self._root)
        for part in self._parts:
            # First what it nearly always is: an abstract class takes ten times as long to ask for.
            if here.__class__ is dict or isinstance(here, Mapping):
                here = here.get(part, _ABSENT)
            elif isinstance(here, list) and part.isascii() and part.isdigit() and int(part) < len(here):
                here = here[int(part)]
            else:
                return _ABSENT
        return here


def scalar_text(value: Any) -> str | None:
    """A value as a stable text; None when it is absent (see the top of this file)."""
    if isinstance(value, str):
        return bounded(value) if value.strip() else None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | Decimal):
        return bounded(str(value))
    return None


def bounded(text: str) -> str:
    """The text itself, or, where it is too long for an index or holds a NUL, its beginning and a hash of the whole."""
    if len(text) <= TEXT_CHARS_MAX and "\x00" not in text:
        return text
    return f"{text[:_HEAD_CHARS].replace(chr(0), '')}…{stable_hash(text).hex()}"


class Extractor:
    """Several paths, of which the first that is present counts."""

    __slots__ = ("paths",)

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = tuple(CompiledPath(path) for path in paths)

    def first(
        self, data: Any, headers: Mapping[str, str] | None = None, message: Mapping[str, str] | None = None
    ) -> str | None:
        """The text at the first path that is present; None when none is."""
        return self.first_of(Message(data, headers, message))

    def first_of(self, message: Message) -> str | None:
        """The same of a message."""
        for path in self.paths:
            text = path.text_of(message)
            if text is not None:
                return text
        return None

    def all(
        self, data: Any, headers: Mapping[str, str] | None = None, message: Mapping[str, str] | None = None
    ) -> tuple[str, ...]:
        """The texts at every path that is present, in order, each once."""
        return self.all_of(Message(data, headers, message))

    def all_of(self, message: Message) -> tuple[str, ...]:
        """The same of a message."""
        if not self.paths:
            return ()
        texts = (path.text_of(message) for path in self.paths)
        return tuple(dict.fromkeys(text for text in texts if text is not None))


def parse_time(text: str, zone: ZoneInfo) -> datetime | None:
    """A time in UTC from ISO 8601, or from seconds or milliseconds since 1970; ``zone`` is for texts that name none."""
    try:
        seconds = Decimal(text)
    except ArithmeticError:
        return _parse_iso(text, zone)
    # Copied and not computed: of a number near the end of all exponents even abs() is an overflow.
    if not seconds.is_finite() or seconds.copy_abs() >= _EPOCH_S_MAX * 1_000:
        return None
    if len(text) == 8 and text.isdigit():
        return _parse_iso(text, zone)
    seconds = seconds / 1_000 if seconds >= _EPOCH_MS_MIN else seconds
    try:
        return datetime.fromtimestamp(0, UTC) + _microseconds(seconds)
    except OverflowError:
        return None


def _parse_iso(text: str, zone: ZoneInfo) -> datetime | None:
    try:
        found = datetime.fromisoformat(text.strip())
        return (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _microseconds(seconds: Decimal) -> timedelta:
    return timedelta(microseconds=int(seconds * 1_000_000))
