"""Calls to providers: every one was put on record before it was sent."""

from __future__ import annotations

from typing import Any

from hub.console.pages.overview import read_providers
from hub.console.paging import with_query
from hub.console.visit import Group, Place, Shown, Visit
from hub.operate.undecided import CALL_STATES, list_calls

PAGE = 50


async def show(visit: Visit) -> Shown:
    """The providers, and their calls, newest first."""
    hub = visit.hub
    provider, state = visit.asked("provider"), visit.asked("state")
    found, before = await list_calls(
        hub.store, provider=provider, state=state, before=visit.number("before"), limit=PAGE
    )
    providers = await read_providers(visit)
    values: dict[str, Any] = {
        "found": found,
        "providers": providers,
        "provider": provider or "",
        "state": state or "",
        "states": CALL_STATES,
        "older": with_query(visit.request, before=before) if before is not None else None,
    }
    return Shown("calls.html", "Providers", values)


GROUP = Group("calls", (Place("GET", "/calls", show),), label="Providers", path="/calls")
