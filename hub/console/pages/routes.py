"""The wiring as a picture with what flows, each route by itself, and letting something stand still or go on."""

from __future__ import annotations

from typing import Any, Final

from hub.console.addresses import BASE
from hub.console.drawing.graph import Live, graph, routes_of
from hub.console.pages.overview import read_providers
from hub.console.visit import Done, Group, Place, Shown, Visit
from hub.errors import UsageError
from hub.flow.pauses import KINDS, Kind, Pause
from hub.ingress.tokens import Role
from hub.operate.events import EventFilter, list_events
from hub.operate.parked import list_parked
from hub.operate.pausing import list_pauses, pause, resume
from hub.routing.fields import parse_duration
from hub.routing.reach import source_names

EVENTS_SHOWN: Final = 15
ROUTE_EVENTS_WINDOW: Final = 20_000
"""How many events a route's page may look at to find those of its type."""


async def show(visit: Visit) -> Shown:
    """Everything, or what one source reaches."""
    hub, config = visit.hub, visit.hub.wiring.config
    source = visit.asked("source")
    names = source_names(config)
    if source is not None and source not in names:
        raise UsageError(f"routing.yaml declares no source {source!r}")
    pauses = await list_pauses(hub.store, hub.clock)
    pulse = await visit.console.worklist.pulse()
    live = Live(
        sources=pulse.sources,
        routes=pulse.routes,
        paused={(one.kind, one.name) for one in pauses},
        provider_of={
            name: spec.provider for name, spec in hub.wiring.capabilities.handlers.items() if spec.provider is not None
        },
    )
    values: dict[str, Any] = {
        "picture": graph(config, live, source=source),
        "routes": routes_of(config, source),
        "rates": pulse.routes,
        "source": source or "",
        "sources": names,
        "pauses": pauses,
        "paused": live.paused,
        "destinations": config.destinations,
        "providers": await read_providers(visit),
    }
    return Shown("routes.html", "Routes", values)


async def show_route(visit: Visit) -> Shown:
    """One route: what it takes and does, what stands still, what is parked of it."""
    hub, name = visit.hub, visit.place("name")
    route = next((one for one in hub.wiring.config.routes if one.name == name), None)
    if route is None:
        raise UsageError(f"routing.yaml declares no route {name!r}")
    pulse = await visit.console.worklist.pulse()
    provider = hub.wiring.provider_of(name)
    pauses = [
        one
        for one in await list_pauses(hub.store, hub.clock)
        if (one.kind, one.name)
        in {("route", name), ("provider", provider), *(("destination", to) for to in route.publish)}
    ]
    events = []
    if len(route.match) == 1 and not {"*", "#"} & set(route.match[0].split(".")):
        of_type = EventFilter(type=route.match[0])
        found = await list_events(hub.store, of_type, limit=EVENTS_SHOWN, window=ROUTE_EVENTS_WINDOW)
        events = list(found.events)
    values: dict[str, Any] = {
        "route": route,
        "rate": pulse.routes.get(name, 0.0),
        "provider": provider,
        "pauses": pauses,
        "is_paused": any(one.kind == "route" for one in pauses),
        "parked": await list_parked(hub.store, route=name, limit=EVENTS_SHOWN),
        "events": events,
    }
    return Shown("route.html", name, values)


async def put(visit: Visit) -> Done:
    """Let something stand still."""
    kind, name = _named(visit)
    for_s = None
    text = visit.told("for")
    if text:
        try:
            for_s = parse_duration(text)
        except ValueError as error:
            raise UsageError(f"for: {error}") from None
    if name not in _known(visit, kind):
        raise UsageError(f"there is no {kind} {name!r}")
    one: Pause = await pause(
        visit.hub.store, visit.hub.clock, kind, name, actor=visit.actor, reason=visit.reason, for_s=for_s
    )
    return Done(f"Now standing still: {one.kind} {one.name}.", _back(visit, kind, name))


async def lift(visit: Visit) -> Done:
    """Let it go on."""
    kind, name = _named(visit)
    standing = {one.name for one in await list_pauses(visit.hub.store, visit.hub.clock) if one.kind == kind}
    if name not in _known(visit, kind) | standing:
        raise UsageError(f"there is no {kind} {name!r}")
    await resume(visit.hub.store, visit.hub.clock, kind, name, actor=visit.actor, reason=visit.reason)
    return Done(f"Going on: {kind} {name}.", _back(visit, kind, name))


def _named(visit: Visit) -> tuple[Kind, str]:
    kind, name = visit.told("kind"), visit.told("name")
    if kind not in KINDS:
        raise UsageError(f"expected one of {', '.join(KINDS)}, found {kind[:40]!r}")
    return kind, name


def _known(visit: Visit, kind: Kind) -> set[str]:
    wiring = visit.hub.wiring
    match kind:
        case "route":
            return {one.name for one in wiring.config.routes}
        case "destination":
            return set(wiring.destinations)
        case "provider":
            return set(wiring.capabilities.providers)


def _back(visit: Visit, kind: Kind, name: str) -> str:
    is_route = kind == "route" and visit.told("back") == "route"
    return f"{BASE}/routes/{name}" if is_route else f"{BASE}/routes"


GROUP = Group(
    "routes",
    (
        Place("GET", "/routes", show),
        Place("GET", "/routes/{name:[A-Za-z0-9._-]{1,100}}", show_route),
        Place("POST", "/pause", put, Role.OPERATOR),
        Place("POST", "/resume", lift, Role.OPERATOR),
    ),
    label="Routes",
    path="/routes",
)
