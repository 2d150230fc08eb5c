"""The small words of routing.yaml: durations, paths, names, patterns. Each refuses with what it expected.

A field that may be one value or a list is always a tuple once it is read.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator
from pydantic_core import PydanticCustomError

from hub.routing.patterns import pattern_problem, type_problem

DURATION_S_MAX: Final = 366 * 86_400.0
PATH_CHARS_MAX: Final = 300
PATTERNS_MAX: Final = 1_000
SHOWN_CHARS_MAX: Final = 80

MESSAGE_FIELDS: Final = ("message_id", "routing_key", "timestamp")
RESERVED_SOURCES: Final = ("internal", "timer", "command")
"""Sources that the hub itself speaks under; every schedule is one more, called ``schedule.<name>``."""
SCHEDULE_PREFIX: Final = "schedule."
_UNITS_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_DURATION: Final = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(ms|s|m|h|d)", re.ASCII)


def wrong(message: str) -> PydanticCustomError:
    """The error that a validator raises; its text reaches the person as it is."""
    # The text is passed as a value, because braces in a template mean placeholders.
    return PydanticCustomError("routing", "{text}", {"text": message})


def shown(value: object) -> str:
    """A value from the file as an error shows it: short, and a collection only by its kind."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= SHOWN_CHARS_MAX else text[: SHOWN_CHARS_MAX - 1] + "…"


def _networks(value: object) -> object:
    """Networks as a list, or as one text with commas between them; an empty text is none."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple):
        raise wrong(f"expected networks such as 203.0.113.0/24, found {shown(value)}")
    return [part.strip() for part in map(str, parts) if part.strip()]


def hint(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'X'?`` when a known name is near, else nothing: for an error that lists them itself."""
    found = get_close_matches(name, sorted(set(known)), n=1, cutoff=0.6)
    return f"; did you mean {found[0]!r}?" if found else ""


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error about an unknown name: the nearest known one, else what there is."""
    names = sorted(set(known))
    near = hint(name, names)
    if near:
        return near.removeprefix("; ")
    if not names:
        return "there is none"
    listed = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    return f"expected one of: {listed}"


def parse_duration(value: object) -> float:
    """Seconds of a text such as ``500ms``, ``2s``, ``10m``, ``1h`` or ``3d``. Raises ValueError."""
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise wrong(f"expected a duration such as 500ms, 2s, 10m, 1h or 3d, found {shown(value)}")
    seconds = float(found[1]) * _UNITS_S[found[2]]
    if not 0 < seconds <= DURATION_S_MAX:
        raise wrong(f"expected a duration above zero and of at most 366d, found {value!r}")
    return seconds


def parse_moment(text: str, now: datetime) -> datetime:
    """A time (UTC where it names no zone), or a duration such as ``2d`` before ``now``. Raises ValueError."""
    try:
        return now - timedelta(seconds=parse_duration(text))
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo is not None else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise wrong(
            f"expected a time such as 2026-01-31T12:00Z, or how long ago (90m, 2d), found {shown(text)}"
        ) from None


def is_path(text: str) -> bool:
    """Whether the text is written as a path into an event: it begins with data., headers. or message."""
    return text.startswith(("data.", "headers.", "message."))


def path_problem(path: str) -> str | None:
    """What is wrong with a path into an event, in words; None when it is fine."""
    root, _, rest = path.partition(".")
    if root not in ("data", "headers", "message") or not rest:
        return f"expected a path that begins with data., headers. or message., found {shown(path)}"
    if len(path) > PATH_CHARS_MAX:
        return f"expected a path of at most {PATH_CHARS_MAX} characters, found {len(path)}"
    if root == "message" and rest not in MESSAGE_FIELDS:
        return f"unknown field {rest!r} of message; {nearest(rest, MESSAGE_FIELDS)}"
    if any(letter.isspace() for letter in path) or (root == "data" and "" in rest.split(".")):
        return f"expected names divided by single dots, without spaces, found {shown(path)}"
    return None


def _refusing(problem_of: Callable[[str], str | None]) -> AfterValidator:
    def check(text: str) -> str:
        problem = problem_of(text)
        if problem is not None:
            raise wrong(problem)
        return text

    return AfterValidator(check)


def _named(pattern: str, expected: str) -> AfterValidator:
    compiled = re.compile(pattern)
    return _refusing(lambda text: None if compiled.fullmatch(text) else f"expected {expected}, found {shown(text)}")


def _zone_problem(name: str) -> str | None:
    from zoneinfo import ZoneInfo, available_timezones  # noqa: PLC0415  reads the zone files: only when asked

    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return f"unknown time zone {shown(name)}; {nearest(name, available_timezones())}"
    return None


def _some_patterns(patterns: tuple[str, ...]) -> tuple[str, ...]:
    if not 1 <= len(patterns) <= PATTERNS_MAX:
        raise wrong(f"expected 1 to {PATTERNS_MAX} patterns, found {len(patterns)}")
    return patterns


def _as_list(value: object) -> object:
    return value if isinstance(value, list | tuple) else [value]


Duration = Annotated[float, BeforeValidator(parse_duration, json_schema_input_type=str)]
Path = Annotated[str, _refusing(path_problem)]
Pattern = Annotated[str, _refusing(pattern_problem)]
TypeName = Annotated[str, _refusing(type_problem)]
Zone = Annotated[str, _refusing(_zone_problem)]

RouteName = Annotated[str, _named(r"[a-z0-9][a-z0-9-]{0,79}", "a name of at most 80 small letters, digits and dashes")]
EntryName = Annotated[
    str, _named(r"[a-z0-9][a-z0-9_-]{0,79}", "a name of at most 80 small letters, digits, dashes and underscores")
]
QueueName = Annotated[str, _named(r"[^\s\x00-\x1f]{1,200}", "a name of at most 200 characters without spaces")]
HandlerName = Annotated[
    str, _named(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*", "a handler written capability.handler, such as orders.settle")
]
ModuleName = Annotated[str, _named(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", "a Python package such as handlers.orders")]
UrlPath = Annotated[
    str, _named(r"/(?!/)[A-Za-z0-9._~/-]{1,199}", "a URL path such as /webhooks/orders, without query or parameters")
]

Paths = Annotated[tuple[Path, ...], BeforeValidator(_as_list, json_schema_input_type=str | list[str])]
Patterns = Annotated[
    tuple[Pattern, ...],
    AfterValidator(_some_patterns),
    BeforeValidator(_as_list, json_schema_input_type=str | list[str]),
]
Names = Annotated[tuple[str, ...], BeforeValidator(_as_list, json_schema_input_type=str | list[str])]

Networks = Annotated[
    tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...],
    BeforeValidator(_networks, json_schema_input_type=str | list[str]),
]
"""Networks or single addresses that may send, such as ``[203.0.113.0/24, 2001:db8::1]``."""
