"""Calls without a known outcome, as a work list: since when, what was asked, what comes next, what is safe."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hub.console.paging import with_query
from hub.console.visit import Group, Place, Shown, Visit, whole_number
from hub.errors import UsageError
from hub.operate.undecided import AGES_S, CallView, list_undecided, read_ages

PAGE = 50


async def show(visit: Visit) -> Shown:
    """The oldest first."""
    hub, now = visit.hub, visit.hub.clock.now()
    provider = visit.asked("provider")
    found = await list_undecided(hub.store, provider=provider, after=_after(visit.asked("after")), limit=PAGE)
    async with hub.store.reading() as conn:
        ages = await read_ages(conn, now)
    last = found[-1] if len(found) == PAGE else None
    more = with_query(visit.request, after=f"{last.started_at.isoformat()}/{last.delivery_id}") if last else None
    values: dict[str, Any] = {
        "found": [(one, what_next(one, now), safe_actions(one)) for one in found],
        "ages": ages,
        "ages_s": AGES_S,
        "provider": provider or "",
        "providers": sorted({*hub.wiring.capabilities.providers, *(one.provider for one in ages)}),
        "more": more,
    }
    return Shown("undecided.html", "Unknown outcomes", values)


def what_next(call: CallView, now: datetime) -> str:
    """Who decides it, and when it is asked about again."""
    if call.delivery_state == "calling":
        return "it is being asked at this moment"
    if call.delivery_state == "parked":
        return "nobody: the delivery is parked and waits for a person"
    if call.delivery_state in ("retrying", "deferred") and call.next_at is not None:
        return "the provider is asked again" if call.next_at > now else "it is due: asked as soon as may be"
    return "the provider is asked when it is this delivery's turn"


def safe_actions(call: CallView) -> str:
    """What a person may do without moving money twice."""
    if call.delivery_state == "parked":
        return (
            "Retry: the provider is asked first, and only its “not found” lets it be sent again."
            " Discard only once you know from the provider what happened."
        )
    return "Wait. Nothing is sent again before the provider has said what became of this."


def _after(text: str | None) -> tuple[datetime, int] | None:
    if text is None:
        return None
    instant, _, number = text.rpartition("/")
    try:
        at = datetime.fromisoformat(instant)
        if at.tzinfo is None:
            raise ValueError
        return at.astimezone(UTC), whole_number("after", number)
    except (ValueError, OverflowError):
        raise UsageError(f"after: expected what a page's own link says, found {text[:60]!r}") from None


GROUP = Group(
    "undecided", (Place("GET", "/undecided", show),), label="Unknown outcomes", path="/undecided", badge="undecided"
)
