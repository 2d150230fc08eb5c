"""One event: what came, how it was proven, what each rule said, what was tried, posted and sent, what people did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from aiohttp import web

from hub.console.addresses import BASE
from hub.console.pages.archived import view_archived
from hub.console.visit import Done, Group, Place, Shown, Visit
from hub.errors import UsageError
from hub.explain import Explanation, Section, explain_event, sections
from hub.ingress.tokens import Role
from hub.operate import parked
from hub.operate.acting import record
from hub.operate.event_details import payload_of, show_event
from hub.operate.event_view import EventDetails
from hub.operate.lookup import ArchivedError
from hub.operate.masking import Mask, mask_of
from hub.operate.reading import TodaysRules
from hub.operate.replay import Pair, replay

PAYLOAD_CHARS_MAX = 900_000
"""What a form may bring within the bound of the hub's own requests."""
EDIT_CHARS_MAX = 200_000


async def show(visit: Visit) -> Shown:
    """The whole story of one event."""
    hub = visit.hub
    try:
        details = await show_event(
            hub.store,
            visit.place("id"),
            hub.wiring.config.sources,
            now=hub.clock.now(),
            provider_of=hub.wiring.provider_of,
        )
    except ArchivedError as found:
        return await _show_archived(visit, found.event_id)
    explained = (await explain_event(hub, details.id, rehearse=False)).to_dict()
    rules = sorted(explained["rules"], key=lambda rule: not rule["matched"])
    values: dict[str, Any] = {
        "event": details,
        "rules": [rule for rule in rules if rule["clause"] != "match"],
        "strangers": [rule for rule in rules if rule["clause"] == "match"],
        "verification": explained["verification"]["how"],
        "taken_from": explained["identity"]["taken_from"],
        "is_parked": any(one.state == "parked" for one in details.deliveries),
        "entries_of": _by_delivery(details),
        "proof": (),
    }
    return Shown("event.html", _title(details), values)


async def _show_archived(visit: Visit, event_id: UUID) -> Shown:
    """The same out of the archive: nothing can be done with it, and today's rules are not asked."""
    view = await view_archived(visit, event_id)
    values: dict[str, Any] = {
        "event": view.event,
        "rules": (),
        "strangers": (),
        "verification": view.verification,
        "taken_from": view.taken_from,
        "is_parked": False,
        "entries_of": _by_delivery(view.event),
        "proof": view.proof,
    }
    return Shown("event.html", _title(view.event), values)


def _title(details: EventDetails) -> str:
    return f"{details.type or 'unreadable'} {str(details.id)[:13]}"


async def show_rehearsal(visit: Visit) -> Shown:
    """What running it now would do: postings, messages and calls of a dry run, rolled back and not sent."""
    explanation = await explain_event(visit.hub, visit.place("id"))
    assert explanation.recorded is not None
    values = {"event": explanation.recorded, "rehearsals": rehearsals_of(explanation)}
    return Shown("rehearsal.html", "Rehearsal", values)


def rehearsals_of(explanation: Explanation) -> Sequence[Section]:
    """What would happen now, as tables."""
    return [one for one in sections(explanation) if one.is_rehearsal]


def _by_delivery(details: EventDetails) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    for entry in details.postings:
        found.setdefault(entry.delivery_id or 0, []).append(entry)
    return found


async def payload(visit: Visit) -> web.StreamResponse:
    """The payload byte for byte, nothing masked. That somebody took it is on record."""
    hub = visit.hub
    try:
        event_id = (await show_event(hub.store, visit.place("id"), hub.wiring.config.sources)).id
        body = await payload_of(hub.store, str(event_id))
    except ArchivedError as found:
        event_id = found.event_id
        body = await hub.archive.payload(event_id)
    await hub.store.write(
        lambda conn: record(
            conn, hub.clock, actor=visit.actor, action="event.read_payload", target=event_id, reason=visit.reason
        )
    )
    # Never as what the sender says it is: it might be a page of theirs.
    headers = {"Content-Disposition": f'attachment; filename="{event_id}.bin"'}
    return web.Response(body=body, content_type="application/octet-stream", headers=headers)


async def retry(visit: Visit) -> Done:
    """Run what is parked of it again."""
    event_id, rules = visit.place("id"), todays_rules(visit)
    changed = await parked.retry(
        visit.hub.store, visit.hub.clock, event_id, actor=visit.actor, reason=visit.reason, rules=rules
    )
    return _done(visit, changed, "is run again")


async def discard(visit: Visit) -> Done:
    """Give up what is parked of it."""
    changed = await parked.discard(
        visit.hub.store, visit.hub.clock, visit.place("id"), actor=visit.actor, reason=visit.reason
    )
    return _done(visit, changed, "is discarded")


async def show_edit(visit: Visit) -> Shown:
    """The form with the payload as it is now."""
    hub = visit.hub
    details = await show_event(hub.store, visit.place("id"), hub.wiring.config.sources)
    body = await payload_of(hub.store, str(details.id), corrected=True)
    mask = mask_of(details.source, hub.wiring.config.sources)
    problem = _why_not_editable(body, mask)
    text = "" if problem else body.decode()
    return Shown("edit.html", "Correct", {"event": details, "text": text, "problem": problem})


def _why_not_editable(body: bytes, mask: Mask) -> str:
    if len(body) > EDIT_CHARS_MAX:
        return "The payload is too large for a form."
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return "The payload is no text."
    if mask.hides and mask.payload(body) != text:
        return "Fields of this source are masked, and a form would show them."
    return ""


async def edit(visit: Visit) -> Done:
    """Put another payload in its place."""
    # A browser sends every line break as two characters.
    text = visit.told("payload", chars_max=PAYLOAD_CHARS_MAX).replace("\r\n", "\n")
    if not text:
        raise UsageError("expected a payload, found none")
    changed = await parked.edit(
        visit.hub.store,
        visit.hub.clock,
        visit.place("id"),
        text.encode(),
        actor=visit.actor,
        reason=visit.reason,
        rules=todays_rules(visit),
    )
    return _done(visit, changed, "is corrected and run again")


async def show_replay(visit: Visit) -> Shown:
    """What a replay would do."""
    hub = visit.hub
    details = await show_event(hub.store, visit.place("id"), hub.wiring.config.sources)
    pairs = await replay(hub.store, hub.clock, [str(details.id)], rules=todays_rules(visit), apply=False)
    runs = any(one.is_run for one in pairs)
    return Shown("replay.html", "Replay", {"event": details, "pairs": pairs, "runs": runs})


async def do_replay(visit: Visit) -> Done:
    """Route it again by today's rules; what is done is never run again."""
    hub = visit.hub
    pairs: list[Pair] = await replay(
        hub.store,
        hub.clock,
        [visit.place("id")],
        rules=todays_rules(visit),
        apply=True,
        actor=visit.actor,
        reason=visit.reason,
    )
    run = [one for one in pairs if one.is_run]
    visit.wake([one.lane for one in run if one.lane is not None])
    visit.console.worklist.changed()
    names = ", ".join(one.route for one in run) or "nothing"
    return Done(f"Replayed: {names}.", f"{BASE}/events/{visit.place('id')}")


def todays_rules(visit: Visit) -> TodaysRules:
    """The rules that this process works by."""
    return TodaysRules(visit.hub.wiring.drafter, visit.hub.rules.route_ids)


def _done(visit: Visit, changed: Sequence[parked.Changed], what: str) -> Done:
    visit.wake([one.lane for one in changed])
    visit.console.worklist.changed()
    names = ", ".join(one.route for one in changed) or "the event"
    return Done(f"{names} {what}.", f"{BASE}/events/{visit.place('id')}")


_ID = "/events/{id:[0-9a-fA-F-]{8,36}}"
GROUP = Group(
    "event",
    (
        Place("GET", _ID, show),
        Place("GET", f"{_ID}/rehearsal", show_rehearsal, Role.OPERATOR),
        Place("POST", f"{_ID}/payload", payload, Role.ADMIN),
        Place("POST", f"{_ID}/retry", retry, Role.OPERATOR),
        Place("POST", f"{_ID}/discard", discard, Role.OPERATOR),
        Place("GET", f"{_ID}/edit", show_edit, Role.OPERATOR),
        Place("POST", f"{_ID}/edit", edit, Role.OPERATOR),
        Place("GET", f"{_ID}/replay", show_replay, Role.OPERATOR),
        Place("POST", f"{_ID}/replay", do_replay, Role.OPERATOR),
    ),
)
