"""Looking for events: one field for everything, or several for who knows more."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from hub.console.paging import with_query
from hub.console.visit import Group, Place, Shown, Visit
from hub.errors import UsageError
from hub.operate.archived import ArchivedHit, find_archived, list_archived
from hub.operate.events import EventFilter, list_events
from hub.operate.finding import find_events
from hub.operate.states import EVENT_STATES
from hub.routing.fields import RESERVED_SOURCES, SCHEDULE_PREFIX, parse_moment

WINDOW = 50_000
"""How many events one page may look at where no index helps."""
SEARCH_S_MAX = 20.0
PAGE = 50
FIELDS = ("source", "type", "key", "tag", "dedupe_id", "state")


async def show(visit: Visit) -> Shown:
    """A page of events, newest first."""
    text = visit.asked("q")
    if text is not None:
        return await _found(visit, text)
    given = {name: visit.asked(name) for name in FIELDS}
    wanted = EventFilter(
        **given, since=_instant(visit.asked("since"), visit), until=_instant(visit.asked("until"), visit)
    )
    async with asyncio.timeout(SEARCH_S_MAX):
        before = visit.number("before")
        page = await list_events(visit.hub.store, wanted, before=before, limit=PAGE, window=WINDOW)
        archived = await _archived(visit, wanted) if before is None else ()
    values: dict[str, Any] = {
        "q": "",
        "given": {**given, "since": visit.asked("since"), "until": visit.asked("until")},
        "page": page,
        "archived": archived,
        "older": with_query(visit.request, before=page.before) if page.before is not None else None,
        "window": WINDOW,
        **_choices(visit),
    }
    return Shown("events.html", "Events", values)


async def _found(visit: Visit, text: str) -> Shown:
    async with asyncio.timeout(SEARCH_S_MAX):
        found = await find_events(visit.hub.store, text, visit.hub.wiring.config.sources)
        archived = await find_archived(visit.hub.store, text, visit.hub.wiring.config.sources)
    return Shown("found.html", f"Events: {text}", {"q": text, "found": found, "archived": archived})


async def _archived(visit: Visit, wanted: EventFilter) -> Sequence[ArchivedHit]:
    return await list_archived(visit.hub.store, wanted, visit.hub.wiring.config.sources, limit=PAGE)


def _choices(visit: Visit) -> dict[str, Any]:
    config = visit.hub.wiring.config
    schedules = [f"{SCHEDULE_PREFIX}{name}" for name in config.schedules]
    return {"states": EVENT_STATES, "sources": [*sorted(config.sources), *RESERVED_SOURCES, *sorted(schedules)]}


def _instant(text: str | None, visit: Visit) -> datetime | None:
    try:
        return None if text is None else parse_moment(text, visit.hub.clock.now())
    except ValueError as error:
        raise UsageError(str(error)) from None


GROUP = Group("events", (Place("GET", "/events", show),), label="Events", path="/events")
