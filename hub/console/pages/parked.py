"""Parked work: deliveries that the hub could not run and messages that no queue takes, one by one or many at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from hub.console.addresses import BASE
from hub.console.pages.event import rehearsals_of, todays_rules
from hub.console.paging import with_query
from hub.console.visit import DIGITS, Done, Group, Place, Shown, Visit
from hub.errors import HubError, UsageError
from hub.explain import explain_event
from hub.ingress.tokens import Role
from hub.operate import parked
from hub.operate.parked import ParkedDelivery
from hub.outbox.parked import discard_message, parked_messages, retry_message

PAGE: Final = 100
BULK_MAX: Final = 500
"""How many deliveries one action may take."""
REHEARSED_MAX: Final = 10
"""How many of them are rehearsed for the preview: each is a transaction that is rolled back."""
ACTIONS: Final = ("retry", "discard")


async def show(visit: Visit) -> Shown:
    """What is parked, oldest first."""
    source, route = visit.asked("source"), visit.asked("route")
    store, after = visit.hub.store, visit.number("after") or 0
    found = await parked.list_parked(store, source=source, route=route, after=after, limit=PAGE)
    messages = await parked_messages(store)
    config = visit.hub.wiring.config
    values: dict[str, Any] = {
        "found": found,
        "messages": messages,
        "source": source or "",
        "route": route or "",
        "sources": sorted({*config.sources, *(one.source for one in found)}),
        "routes": sorted({*(one.name for one in config.routes), *(one.route for one in found)}),
        "older": with_query(visit.request, after=found[-1].delivery_id) if len(found) == PAGE else None,
        "bulk_max": BULK_MAX,
    }
    return Shown("parked.html", "Parked", values)


async def preview(visit: Visit) -> Shown:
    """What an action would do with what was chosen, before it is done."""
    action = _action(visit)
    chosen = await _chosen(visit)
    rehearsed: dict[UUID, Any] = {}
    if action == "retry":
        for event_id in list(dict.fromkeys(one.event_id for one in chosen))[:REHEARSED_MAX]:
            try:
                explanation = await explain_event(visit.hub, event_id)
            except HubError as error:
                rehearsed[event_id] = (False, str(error), ())
                continue
            fails = bool(explanation.problem) or any(one.failed for one in explanation.rehearsals)
            word = "would fail again" if fails else "would succeed"
            rehearsed[event_id] = (not fails, word, rehearsals_of(explanation))
    values: dict[str, Any] = {
        "action": action,
        "chosen": chosen,
        "rehearsed": rehearsed,
        "rehearsed_max": REHEARSED_MAX,
        "behind": sum(one.behind for one in chosen),
    }
    return Shown("parked_preview.html", f"{action.capitalize()} {len(chosen)}", values)


async def apply(visit: Visit) -> Done:
    """Do it, each by itself: one that somebody else has acted on meanwhile does not hold up the others."""
    action, reason = _action(visit), visit.reason
    hub, chosen = visit.hub, visit.numbers("delivery")
    if not 0 < len(chosen) <= BULK_MAX:
        raise UsageError(f"expected 1 to {BULK_MAX} deliveries, found {len(chosen)}")
    done, left = 0, []
    for number in chosen:
        try:
            if action == "retry":
                changed = await parked.retry(
                    hub.store, hub.clock, str(number), actor=visit.actor, reason=reason, rules=todays_rules(visit)
                )
            else:
                changed = await parked.discard(hub.store, hub.clock, str(number), actor=visit.actor, reason=reason)
        except UsageError as error:
            left.append(str(error))
            continue
        visit.wake([one.lane for one in changed])
        done += 1
    visit.console.worklist.changed()
    word = "Run again" if action == "retry" else "Discarded"
    rest = f" {len(left)} left as they are: {left[0]}" if left else ""
    return Done(f"{word}: {done}.{rest}", f"{BASE}/parked")


async def message(visit: Visit) -> Done:
    """Send a message again, or give it up."""
    action, seq = _action(visit), int(visit.place("seq"))
    act = retry_message if action == "retry" else discard_message
    await act(visit.hub.store, visit.hub.clock, seq, actor=visit.actor, reason=visit.reason)
    visit.console.worklist.changed()
    return Done(f"Message {seq}: {'sent again' if action == 'retry' else 'discarded'}.", f"{BASE}/parked#messages")


async def _chosen(visit: Visit) -> Sequence[ParkedDelivery]:
    """The deliveries that were ticked, or all that the filter shows."""
    source, route = visit.told("source") or None, visit.told("route") or None
    found = await parked.list_parked(visit.hub.store, source=source, route=route, limit=BULK_MAX)
    if visit.told("which") != "all":
        ticked = set(visit.numbers("delivery"))
        # A later page shows what is behind the first ones.
        after = min(ticked, default=1) - 1
        found = await parked.list_parked(visit.hub.store, source=source, route=route, after=after, limit=BULK_MAX)
        found = [one for one in found if one.delivery_id in ticked]
    if not found:
        raise UsageError("nothing was chosen, or nothing of it is parked any more")
    return found


def _action(visit: Visit) -> str:
    action = visit.told("action")
    if action not in ACTIONS:
        raise UsageError(f"expected {' or '.join(ACTIONS)}, found {action[:40]!r}")
    return action


GROUP = Group(
    "parked",
    (
        Place("GET", "/parked", show),
        Place("POST", "/parked/preview", preview, Role.OPERATOR),
        Place("POST", "/parked/apply", apply, Role.OPERATOR),
        Place("POST", f"/parked/messages/{{seq:{DIGITS}}}", message, Role.OPERATOR),
    ),
    label="Parked",
    path="/parked",
    badge="parked",
)
