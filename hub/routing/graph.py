"""Draws the wiring as text: a Mermaid flowchart of sources, routes, handlers and destinations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hub.routing.config import RouteConfig, RoutingConfig
from hub.routing.fields import RESERVED_SOURCES
from hub.routing.reach import reaches, source_names


def mermaid(config: RoutingConfig, *, emitted: Iterable[str] | None = None) -> str:
    """The flowchart, from left to right. What the hub's own sources send is drawn only where a route asks for it."""
    inside = tuple(emitted) if emitted is not None else None
    return "\n".join(["flowchart LR", *_nodes(config), *_edges(config, inside)]) + "\n"


def _nodes(config: RoutingConfig) -> Iterator[str]:
    for number, name in enumerate(source_names(config)):
        if name not in RESERVED_SOURCES or any(name in route.source for route in config.routes):
            yield f'  s{number}(["{_escaped(name)}"])'
    for number, route in enumerate(config.routes):
        lines = [route.name, *route.match[:3], *(["…"] if route.match[3:] else [])]
        lines += [f"when {route.when.strip()}"] if route.when is not None else []
        lines += ["disabled"] if route.disabled else []
        yield f'  r{number}["{"<br/>".join(map(_escaped, lines))}"]'
    for number, name in enumerate(_handlers(config)):
        yield f'  h{number}[["{_escaped(name)}"]]'
    for number, name in enumerate(config.destinations):
        yield f'  d{number}[("{_escaped(name)}")]'


def _edges(config: RoutingConfig, emitted: tuple[str, ...] | None) -> Iterator[str]:
    for number, route in enumerate(config.routes):
        arrow = "-.->" if route.disabled else "-->"
        for source, name in enumerate(source_names(config)):
            if (name not in RESERVED_SOURCES or name in route.source) and reaches(config, name, route, emitted):
                yield f"  s{source} {arrow} r{number}"
        yield from (f"  {edge}" for edge in _onward(config, number, route, arrow))


def _onward(config: RoutingConfig, number: int, route: RouteConfig, arrow: str) -> Iterator[str]:
    start = f"r{number}"
    if route.handle is not None:
        handler = f"h{_handlers(config).index(route.handle)}"
        yield f"{start} {arrow} {handler}"
        start = handler
    names = list(config.destinations)
    for name in route.publish:
        yield f"{start} {arrow} d{names.index(name)}"


def _handlers(config: RoutingConfig) -> list[str]:
    return sorted({route.handle for route in config.routes if route.handle is not None})


def _escaped(text: str) -> str:
    # Mermaid reads these as markup inside a quoted label.
    one_line = " ".join(text.split())
    for letter, code in (("&", "amp"), ('"', "quot"), ("<", "lt"), (">", "gt"), ("#", "35")):
        one_line = one_line.replace(letter, f"\x00{code};")
    return one_line.replace("\x00", "#")
