"""Further pages: their addresses, and how one says where it begins."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from aiohttp import web

from hub.errors import UsageError

if TYPE_CHECKING:
    from hub.console.visit import Visit

T = TypeVar("T")


def with_query(request: web.Request, **changed: object) -> str:
    """The path of this page with some parameters changed; None takes one away."""
    query = {name: value for name, value in request.query.items() if value and name not in changed}
    query |= {name: str(value) for name, value in changed.items() if value is not None}
    return str(request.rel_url.with_query(query))


def mark(at: datetime, last: object) -> str:
    """Where a page ends that is in the order of a time and of what tells rows of one time apart."""
    return f"{at.isoformat()}/{last}"


def read_mark(visit: Visit, name: str, read: Callable[[str], T]) -> tuple[datetime, T] | None:
    """What ``mark`` wrote into this parameter; None where it is absent. Raises UsageError."""
    text = visit.asked(name)
    if text is None:
        return None
    instant, _, last = text.rpartition("/")
    try:
        at = datetime.fromisoformat(instant)
        if at.tzinfo is None:
            raise ValueError
        return at.astimezone(UTC), read(last)
    except (ValueError, OverflowError, UsageError):
        raise UsageError(f"{name}: expected what a page's own link says, found {text[:60]!r}") from None
