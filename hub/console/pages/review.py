"""Results to be looked at, and events that came again with other content: both end with what a person decided."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from hub.console.addresses import BASE
from hub.console.differences import list_differences
from hub.console.paging import with_query
from hub.console.visit import DIGITS, Done, Group, Place, Shown, Visit
from hub.errors import UsageError
from hub.ingress.tokens import Role
from hub.operate.conflicts import find_conflict, list_conflicts, resolve_conflict
from hub.operate.event_details import show_event
from hub.operate.masking import mask_of
from hub.operate.review import list_reviews, resolve_review

PAGE = 50


async def show_reviews(visit: Visit) -> Shown:
    """Those that are open, or all."""
    is_all, outcome = visit.asked("all") is not None, visit.asked("outcome")
    found = await list_reviews(
        visit.hub.store,
        state=None if is_all else "open",
        outcome=outcome,
        after=visit.number("after") or 0,
        limit=PAGE,
    )
    more = with_query(visit.request, after=found[-1].delivery_id) if len(found) == PAGE else None
    values = {"found": found, "is_all": is_all, "outcome": outcome or "", "more": more}
    return Shown("reviews.html", "Reviews", values)


async def resolve_one_review(visit: Visit) -> Done:
    """Close the review of one delivery."""
    await resolve_review(
        visit.hub.store, visit.hub.clock, visit.place("delivery"), actor=visit.actor, note=visit.reason
    )
    visit.console.worklist.changed()
    return Done("The review is closed.", f"{BASE}/reviews")


async def show_conflicts(visit: Visit) -> Shown:
    """Those that are open, or all."""
    is_all = visit.asked("all") is not None
    found = await list_conflicts(
        visit.hub.store, state=None if is_all else "open", after=_uuid(visit.asked("after")), limit=PAGE
    )
    more = with_query(visit.request, after=found[-1].id) if len(found) == PAGE else None
    return Shown("conflicts.html", "Conflicts", {"found": found, "is_all": is_all, "more": more})


async def show_conflict(visit: Visit) -> Shown:
    """Both contents, side by side."""
    hub, wanted = visit.hub, UUID(visit.place("id"))
    found = await find_conflict(hub.store, wanted)
    details = await show_event(hub.store, str(found.event_id), hub.wiring.config.sources)
    copy = next((one for one in details.conflicts if one.id == wanted), None)
    values: dict[str, Any] = {
        "conflict": found,
        "event": details,
        "copy": copy,
        "differences": list_differences(details.content.text, copy.content.text) if copy else [],
        "is_masked": mask_of(details.source, hub.wiring.config.sources).hides,
    }
    return Shown("conflict.html", "Conflict", values)


async def resolve_one_conflict(visit: Visit) -> Done:
    """Close it: what holds was decided."""
    await resolve_conflict(visit.hub.store, visit.hub.clock, visit.place("id"), actor=visit.actor, note=visit.reason)
    visit.console.worklist.changed()
    return Done("The conflict is closed.", f"{BASE}/conflicts")


def _uuid(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text is not None else None
    except ValueError:
        raise UsageError(f"expected an id, found {text!r}") from None


_CONFLICT = "/conflicts/{id:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}}"
REVIEWS = Group(
    "reviews",
    (
        Place("GET", "/reviews", show_reviews),
        Place("POST", f"/reviews/{{delivery:{DIGITS}}}", resolve_one_review, Role.OPERATOR),
    ),
    label="Reviews",
    path="/reviews",
    badge="reviews",
)
CONFLICTS = Group(
    "conflicts",
    (
        Place("GET", "/conflicts", show_conflicts),
        Place("GET", _CONFLICT, show_conflict),
        Place("POST", _CONFLICT, resolve_one_conflict, Role.OPERATOR),
    ),
    label="Conflicts",
    path="/conflicts",
    badge="conflicts",
)
