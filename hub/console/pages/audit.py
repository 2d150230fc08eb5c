"""What people did, newest first; and who is signed in."""

from __future__ import annotations

from uuid import UUID

from hub.console.addresses import BASE
from hub.console.paging import mark, read_mark, with_query
from hub.console.visit import Done, Group, Place, Shown, Visit
from hub.ingress.tokens import Role
from hub.operate.record import list_operations

PAGE = 100


async def show(visit: Visit) -> Shown:
    """A page of the record."""
    given = {name: visit.asked(name) for name in ("actor", "action", "target")}
    before = read_mark(visit, "before", UUID)
    found = await list_operations(visit.hub.store, **given, before=before, limit=PAGE)
    last = found[-1] if len(found) == PAGE else None
    older = with_query(visit.request, before=mark(last.at, last.id)) if last else None
    return Shown("audit.html", "Record", {"found": found, "given": given, "older": older})


async def show_people(visit: Visit) -> Shown:
    """Who is signed in."""
    from hub.console.people import list_users  # noqa: PLC0415 - it is asked for here alone

    values = {"sessions": await visit.console.sessions.listed(), "users": await list_users(visit.hub.store)}
    return Shown("people.html", "People", values)


async def revoke(visit: Visit) -> Done:
    """End somebody's session."""
    name = await visit.console.sessions.revoke(visit.told("session"), actor=visit.actor, reason=visit.reason)
    return Done(f"The session of {name} is over.", f"{BASE}/people")


GROUP = Group(
    "audit",
    (
        Place("GET", "/audit", show),
        Place("GET", "/people", show_people, Role.ADMIN),
        Place("POST", "/people", revoke, Role.ADMIN),
    ),
    label="Record",
    path="/audit",
)
