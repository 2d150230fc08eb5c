"""How values are written on a page: times, ages, amounts, ids, states."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from markupsafe import Markup, escape

from hub.calls.naming import call_name

MINUTE: Final = 60
HOUR: Final = 3_600
DAY: Final = 86_400

TONES: Final[Mapping[str, str]] = {
    "applied": "good",
    "done": "good",
    "sent": "good",
    "settled": "good",
    "working": "good",
    "ok": "good",
    "valid": "good",
    "trusted": "good",
    "resolved": "good",
    "parked": "bad",
    "unknown": "bad",
    "failed": "bad",
    "circuit open": "bad",
    "invalid": "bad",
    "waiting": "wait",
    "ready": "wait",
    "retrying": "wait",
    "deferred": "wait",
    "calling": "wait",
    "started": "wait",
    "pending": "wait",
    "half open": "wait",
    "paused": "wait",
    "open": "wait",
}
"""How a state is felt. What is not here is neutral; the word itself always stands beside the colour."""


def at(value: datetime | None) -> Markup:
    """An instant: short to read, whole in its title."""
    if value is None:
        return Markup('<span class="none">–</span>')
    value = value.astimezone(UTC)
    whole = f"{value:%Y-%m-%d %H:%M:%S.%f}"[:-3] + " UTC"
    markup = Markup('<time datetime="{iso}" title="{whole}">{short}</time>')
    return markup.format(iso=value.isoformat(), whole=whole, short=f"{value:%d %b %H:%M:%S}")


def age(seconds: float | None) -> str:
    """A time that has passed, in its largest unit that still says something."""
    if seconds is None:
        return "–"
    seconds = max(0.0, seconds)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 2 * MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2 * HOUR:
        return f"{seconds / MINUTE:.0f} min"
    if seconds < 2 * DAY:
        return f"{seconds / HOUR:.0f} h"
    return f"{seconds / DAY:.0f} d"


def bound(seconds: float) -> str:
    """A round time, in the largest unit that it fills."""
    for unit, name in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if seconds and seconds % unit == 0:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:g} s"


def since(value: datetime | None, now: datetime) -> Markup:
    """How long ago, or in how long."""
    if value is None:
        return Markup('<span class="none">–</span>')
    seconds = (now - value).total_seconds()
    text = f"{age(seconds)} ago" if seconds >= 0 else f"in {age(-seconds)}"
    whole = f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    return Markup('<time datetime="{iso}" title="{whole}">{text}</time>').format(
        iso=value.isoformat(), whole=whole, text=text
    )


def state(value: object) -> Markup:
    """A state as a mark: a word with a colour."""
    text = str(value)
    return Markup('<span class="state {tone}">{text}</span>').format(tone=TONES.get(text, "plain"), text=text)


def short(value: object) -> str:
    """The beginning of an id, enough to find it by."""
    return str(value)[:13]


def number(value: int | float | None) -> str:
    """A number with thin gaps between its thousands."""
    if value is None:
        return "–"
    return f"{value:,}".replace(",", "\u202f") if isinstance(value, int) else f"{value:,.1f}".replace(",", "\u202f")


def rate(value: float) -> str:
    """So many in a time, without a fraction that says nothing."""
    return f"{value:g}"


def money(value: Any) -> Markup:
    """An amount; a minus is a real one."""
    return Markup('<span class="money">{text}</span>').format(text=value.format().replace("-", "\u2212", 1))


def change(value: Any) -> Markup:
    """An amount by which something changed, with its sign."""
    return Markup('<span class="money">{sign}{text}</span>').format(
        sign="+" if value.amount_minor > 0 else "", text=value.format().replace("-", "\u2212", 1)
    )


def plural(count: int, one: str, many: str = "") -> str:
    """A count with its noun."""
    return f"{number(count)} {one if count == 1 else many or one + 's'}"


def breakable(value: object) -> Markup:
    """A long name that may break at its points and dashes."""
    text = str(escape(str(value)))
    for letter in (".", "_", "-", "/", ":"):
        text = text.replace(letter, f"{letter}<wbr>")
    # Entities end with a semicolon and hold none of these letters, so that none is torn apart.
    return Markup(text)  # noqa: S704 - escaped above


FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "at": at,
    "age": age,
    "bound": bound,
    "since": since,
    "state": state,
    "short": short,
    "number": number,
    "rate": rate,
    "money": money,
    "change": change,
    "plural": plural,
    "breakable": breakable,
    "call_name": call_name,
}
