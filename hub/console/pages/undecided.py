"""Calls without a known outcome, as a work list: since when, what was asked, what comes next, what is safe."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from hub.calls.naming import call_name
from hub.console.addresses import BASE
from hub.console.paging import mark, read_mark, with_query
from hub.console.visit import DIGITS, Done, Group, Place, Shown, Visit, whole_number
from hub.ingress.tokens import Role
from hub.operate.closing import close_calls
from hub.operate.undecided import AGES_S, CallView, list_undecided, read_ages

PAGE = 50


async def show(visit: Visit) -> Shown:
    """The oldest first."""
    hub, now = visit.hub, visit.hub.clock.now()
    provider = visit.asked("provider")
    after = read_mark(visit, "after", lambda text: whole_number("after", text))
    found = await list_undecided(hub.store, provider=provider, after=after, limit=PAGE)
    async with hub.store.reading() as conn:
        ages = await read_ages(conn, now)
    last = found[-1] if len(found) == PAGE else None
    more = with_query(visit.request, after=mark(last.started_at, last.delivery_id)) if last else None
    values: dict[str, Any] = {
        "found": [(one, what_next(one, now), safe_actions(one)) for one in found],
        "ages": ages,
        "ages_s": AGES_S,
        "provider": provider or "",
        "providers": sorted({*hub.wiring.capabilities.providers, *(one.provider for one in ages)}),
        "more": more,
    }
    return Shown("undecided.html", "Unknown outcomes", values)


async def close(visit: Visit) -> Done:
    """Somebody has found out what became of the calls of a delivery that is over."""
    hub = visit.hub
    closed = await close_calls(hub.store, hub.clock, visit.place("delivery"), actor=visit.actor, reason=visit.reason)
    visit.console.worklist.changed()
    names = ", ".join(call_name(one) for one in closed)
    return Done(f"Closed: {names}.", f"{BASE}/undecided")


def what_next(call: CallView, now: datetime) -> str:
    """Who decides it, and when it is asked about again."""
    if call.is_over:
        return f"nobody: the delivery is {call.delivery_state}, and nobody has said what became of this"
    if call.delivery_state == "calling":
        return "it is being asked at this moment"
    if call.delivery_state == "parked":
        return "nobody: the delivery is parked and waits for a person"
    if call.delivery_state in ("retrying", "deferred") and call.next_at is not None:
        return "the provider is asked again" if call.next_at > now else "it is due: asked as soon as may be"
    return "the provider is asked when it is this delivery's turn"


def safe_actions(call: CallView) -> str:
    """What a person may do without moving money twice."""
    if call.is_over:
        return "Look at the provider's side, by the key, and say what you have found. Closing it sends nothing."
    if call.delivery_state == "parked":
        return (
            "Retry: the provider is asked first, and only its “not found” lets it be sent again."
            " Discard only once you know from the provider what happened, and close it then."
        )
    return "Wait. Nothing is sent again before the provider has said what became of this."


GROUP = Group(
    "undecided",
    (
        Place("GET", "/undecided", show),
        Place("POST", f"/undecided/{{delivery:{DIGITS}}}", close, Role.OPERATOR),
    ),
    label="Unknown outcomes",
    path="/undecided",
    badge="undecided",
)
