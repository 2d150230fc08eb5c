"""The wiring as a picture: sources, routes, handlers and destinations in four columns, and what flows now."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from markupsafe import Markup

from hub.console.addresses import BASE
from hub.routing import RouteConfig, RoutingConfig
from hub.routing.fields import RESERVED_SOURCES, SCHEDULE_PREFIX
from hub.routing.reach import reaches, source_names

COLUMNS: Final = (8, 260, 620, 930)
WIDTHS: Final = (180, 290, 240, 200)
WIDTH: Final = 1_140
ROW: Final = 30
BOX: Final = 24
TOP: Final = 26
CHARS_OF: Final = (25, 41, 34, 28)
"""How much of a name fits into a box of each column; all of it is in the title."""
COLUMN_OF: Final = {"source": 0, "route": 1, "handler": 2, "target": 3}
TITLES: Final = ("sources", "routes", "handlers", "destinations")


@dataclass(frozen=True, slots=True)
class Live:
    """What the picture shows beyond the file: per minute by name, and what stands still."""

    sources: Mapping[str, float] = field(default_factory=dict)
    routes: Mapping[str, float] = field(default_factory=dict)
    paused: Collection[tuple[str, str]] = ()
    provider_of: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Node:
    column: int
    y: int
    name: str
    label: str
    style: str
    to: str
    says: str


def graph(config: RoutingConfig, live: Live, *, source: str | None = None) -> Markup:
    """The picture; with ``source`` only what its events reach."""
    routes = routes_of(config, source)
    nodes: dict[tuple[str, str], _Node] = {}
    edges: list[Markup] = []
    origins = {route.name: _origins(config, route, source) for route in routes}
    places = {name: place for place, name in enumerate(source_names(config))}
    ordered = sorted(
        routes,
        key=lambda route: (places[origins[route.name][0]], route.publish[:1], route.handle or "", route.name),
    )
    for place, route in enumerate(ordered):
        rate = live.routes.get(route.name, 0.0)
        label = f"{route.name}  {_rate(rate)}" if rate else route.name
        style = "off" if route.disabled else "paused" if ("route", route.name) in live.paused else ""
        says = f"{route.name} takes {', '.join(route.match)}" + (f" when {route.when}" if route.when else "")
        nodes["route", route.name] = _Node(1, _y(place), route.name, label, style, f"{BASE}/routes/{route.name}", says)
    for kind in ("source", "handler", "target"):
        _spread(nodes, kind, _neighbours(kind, ordered, origins), live)
    for route in ordered:
        edges += _edges(nodes, route, origins[route.name], live)
    rows = max([1, *(1 + (node.y - TOP) // ROW for node in nodes.values())])
    height = TOP + rows * ROW + 8
    heads = [
        Markup('<text class="soft" x="{x}" y="14">{title}</text>').format(x=COLUMNS[place], title=title)
        for place, title in enumerate(TITLES)
    ]
    opening = Markup('<svg width="{w}" height="{h}" viewBox="0 0 {w} {h}" role="group" aria-label="{label}">').format(
        w=WIDTH, h=height, label=f"The wiring: {len(ordered)} routes"
    )
    drawn = [_drawn(node, kind) for (kind, _), node in nodes.items()]
    return opening + Markup("").join([*heads, *edges, *drawn]) + Markup("</svg>")


def routes_of(config: RoutingConfig, source: str | None) -> list[RouteConfig]:
    """The routes that events of this source may take; all of them without one."""
    if source is None:
        return list(config.routes)
    return [route for route in config.routes if reaches(config, source, route) is not None]


def _origins(config: RoutingConfig, route: RouteConfig, source: str | None) -> list[str]:
    if source is not None:
        return [source]
    if route.source:
        return list(route.source)
    declared = [name for name in config.sources if reaches(config, name, route) is not None]
    scheduled = [
        name
        for name in source_names(config)
        if name.startswith(SCHEDULE_PREFIX) and reaches(config, name, route) is not None
    ]
    # What could come from anywhere comes, as a rule, from the handlers.
    return scheduled or (declared if 0 < len(declared) <= SOURCES_SHOWN_MAX else [RESERVED_SOURCES[0]])


SOURCES_SHOWN_MAX: Final = 3


def _neighbours(
    kind: str, ordered: Sequence[RouteConfig], origins: Mapping[str, Sequence[str]]
) -> Mapping[str, Sequence[int]]:
    """The names of a column, each with the places of the routes that it is tied to."""
    found: dict[str, list[int]] = {}
    for place, route in enumerate(ordered):
        names: Sequence[str] = origins[route.name] if kind == "source" else route.publish
        if kind == "handler":
            names = [route.handle] if route.handle is not None else []
        for name in names:
            found.setdefault(name, []).append(place)
    return found


def _spread(
    nodes: dict[tuple[str, str], _Node], kind: str, neighbours: Mapping[str, Sequence[int]], live: Live
) -> None:
    """Put each name of a column beside the middle of its routes, or below the one that is there already."""
    free = 0
    for name in sorted(neighbours, key=lambda one: sum(neighbours[one]) / len(neighbours[one])):
        place = max(free, round(sum(neighbours[name]) / len(neighbours[name])))
        free, y = place + 1, _y(place)
        style, to, label = kind, "", name
        if kind == "source":
            rate = live.sources.get(name, 0.0)
            label = f"{name}  {_rate(rate)}" if rate else name
            to = f"{BASE}/events?source={name}"
        elif kind == "target":
            style = "paused" if ("destination", name) in live.paused else "target"
            to = f"{BASE}/routes#destinations"
        elif (provider := live.provider_of.get(name)) is not None:
            label = f"{name} → {provider}"
            style = "paused" if ("provider", provider) in live.paused else kind
            to = f"{BASE}/calls?provider={provider}"
        nodes[kind, name] = _Node(COLUMN_OF[kind], y, name, label, style, to, label)


def _edges(
    nodes: Mapping[tuple[str, str], _Node], route: RouteConfig, origins: Sequence[str], live: Live
) -> list[Markup]:
    style = "off" if route.disabled else "live" if live.routes.get(route.name) else ""
    here = nodes["route", route.name]
    found = [_edge(nodes["source", name], here, style) for name in origins]
    if route.handle is not None:
        found.append(_edge(here, nodes["handler", route.handle], style))
        here = nodes["handler", route.handle]
    return found + [_edge(here, nodes["target", name], style) for name in route.publish]


def _edge(start: _Node, end: _Node, style: str) -> Markup:
    x, y = COLUMNS[start.column] + WIDTHS[start.column], start.y + BOX // 2
    to_x, to_y = COLUMNS[end.column], end.y + BOX // 2
    middle = (x + to_x) // 2
    path = f"M{x} {y}C{middle} {y} {middle} {to_y} {to_x} {to_y}"
    return Markup('<path class="edge {style}" d="{path}"/>').format(style=style, path=path)


def _drawn(node: _Node, kind: str) -> Markup:
    text = node.label if len(node.label) <= CHARS_OF[node.column] else f"{node.label[: CHARS_OF[node.column] - 1]}…"
    inside = Markup(
        '<title>{says}</title><rect x="{x}" y="{y}" width="{w}" height="{h}" rx="4"/>'
        '<text x="{tx}" y="{ty}">{text}</text>'
    ).format(
        says=node.says,
        x=COLUMNS[node.column],
        y=node.y,
        w=WIDTHS[node.column],
        h=BOX,
        tx=COLUMNS[node.column] + 7,
        ty=node.y + 16,
        text=text,
    )
    style = f"node {kind} {node.style}"
    if node.to:
        return Markup('<a class="{style}" href="{to}">{inside}</a>').format(style=style, to=node.to, inside=inside)
    return Markup('<g class="{style}">{inside}</g>').format(style=style, inside=inside)


def _y(place: int) -> int:
    return TOP + place * ROW


def _rate(per_minute: float) -> str:
    return f"{per_minute:.0f}/min" if per_minute >= 10 else f"{per_minute:.1f}/min"
