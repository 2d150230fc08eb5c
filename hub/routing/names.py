"""Checks across routing.yaml: names that must exist, names that must not collide, conditions that compile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from hub.addresses import CONSOLE
from hub.routing.conditions import Condition, ConditionError
from hub.routing.config import RoutingConfig
from hub.routing.fields import RESERVED_SOURCES, SCHEDULE_PREFIX, nearest
from hub.routing.yamltext import Loc

RESERVED_PATHS: Final = (
    *("/events", "/healthz", "/readyz", "/metrics", CONSOLE),
    *("/api/docs", "/api/openapi.json", "/api/asyncapi.json", "/api/schemas"),
)
"""Addresses of the hub's own; no webhook may take them or one below them."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the loaded capabilities bring. None means: not known, so names of this kind are not checked."""

    handlers: frozenset[str] | set[str] | None = None
    schemes: frozenset[str] | set[str] | None = None
    schemas: frozenset[str] | set[str] | None = None
    capabilities: frozenset[str] | set[str] | None = None
    providers: frozenset[str] | set[str] | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about one place of the file. ``line`` and ``column`` are within the text that stands there."""

    loc: Loc
    message: str
    line: int | None = None
    column: int | None = None
    at_key: bool = field(default=False, kw_only=True)


def check_names(config: RoutingConfig, known: Known | None = None) -> tuple[list[Finding], list[Finding]]:
    """Errors and warnings, in no particular order."""
    known = known or Known()
    errors = [
        *_reserved(config),
        *_route_names(config),
        *_addresses(config),
        *_source_queues(config),
        *_references(config),
        *_capabilities(config, known),
        *_conditions(config),
    ]
    return errors, [*_unused(config), *_uncalled(config, known)]


def _reserved(config: RoutingConfig) -> Iterator[Finding]:
    for name in config.sources:
        if name in RESERVED_SOURCES:
            yield Finding(("sources", name), f"the source name {name!r} is the hub's own; choose another", at_key=True)


def _route_names(config: RoutingConfig) -> Iterator[Finding]:
    taken: dict[str, str] = {}
    for number, route in enumerate(config.routes):
        if route.name in taken:
            yield Finding(("routes", number, "name"), f"the route name {route.name!r} {taken[route.name]}")
        taken[route.name] = "stands twice"
    for number, route in enumerate(config.routes):
        for place, old in enumerate(route.was):
            if old in taken:
                message = (
                    f"the former name {old!r} {taken[old].replace('stands twice', 'is the name of a route today')}"
                )
                yield Finding(("routes", number, "was", place), message)
            taken[old] = f"is a former name of {route.name!r} too"


def _addresses(config: RoutingConfig) -> Iterator[Finding]:
    taken: dict[str, str] = {}
    for name, source in config.sources.items():
        if source.webhook is None:
            continue
        base: Loc = ("sources", name, "webhook")
        places: list[tuple[Loc, str]] = [((*base, "path"), source.webhook.path)]
        places += [((*base, "aliases", number), alias) for number, alias in enumerate(source.webhook.aliases)]
        for loc, path in places:
            plain = path.rstrip("/")
            if any(plain == reserved or plain.startswith(f"{reserved}/") for reserved in RESERVED_PATHS):
                yield Finding(loc, f"the path {path} is the hub's own; choose another")
            # With and without a slash at the end is one address, because senders do not agree on it.
            elif plain in taken:
                yield Finding(loc, f"the path {path} is taken by the source {taken[plain]!r}")
            taken.setdefault(plain, name)


def _source_queues(config: RoutingConfig) -> Iterator[Finding]:
    taken: dict[str, str] = {}
    for name, source in config.sources.items():
        if source.queue is None:
            continue
        if source.queue.name in taken:
            message = f"the queue {source.queue.name!r} is read by the source {taken[source.queue.name]!r} already"
            yield Finding(("sources", name, "queue", "name"), message)
        taken.setdefault(source.queue.name, name)


def _references(config: RoutingConfig) -> Iterator[Finding]:
    sources = {*config.sources, *RESERVED_SOURCES, *(SCHEDULE_PREFIX + name for name in config.schedules)}
    for number, route in enumerate(config.routes):
        base: Loc = ("routes", number)
        for place, name in enumerate(route.source):
            if name not in sources:
                yield Finding((*base, "source", place), f"unknown source {name!r}; {nearest(name, sources)}")
        for place, name in enumerate(route.publish):
            if name not in config.destinations:
                message = f"unknown destination {name!r}; {nearest(name, config.destinations)}"
                yield Finding((*base, "publish", place), message)
        for place, example in enumerate(route.examples):
            if example.source is not None and example.source not in sources:
                message = f"unknown source {example.source!r}; {nearest(example.source, sources)}"
                yield Finding((*base, "examples", place, "source"), message)


def _capabilities(config: RoutingConfig, known: Known) -> Iterator[Finding]:
    for number, name in enumerate(config.capabilities):
        if name in config.capabilities[:number]:
            yield Finding(("capabilities", number), f"the capability {name!r} stands twice")
        yield from _unknown("capability", name, known.capabilities, ("capabilities", number))
    for number, route in enumerate(config.routes):
        if route.handle is not None:
            yield from _unknown("handler", route.handle, known.handlers, ("routes", number, "handle"))
    for name, source in config.sources.items():
        if source.webhook is not None:
            loc: Loc = ("sources", name, "webhook", "auth", "scheme")
            yield from _unknown("scheme", source.webhook.auth.scheme, known.schemes, loc)
        if source.event.schema_name is not None:
            yield from _unknown("schema", source.event.schema_name, known.schemas, ("sources", name, "event", "schema"))


def _unknown(kind: str, name: str, known: Iterable[str] | None, loc: Loc) -> Iterator[Finding]:
    if known is not None and name not in set(known):
        yield Finding(loc, f"unknown {kind} {name!r}; {nearest(name, known)}")


def _conditions(config: RoutingConfig) -> Iterator[Finding]:
    texts: list[tuple[Loc, str | None]] = [
        (("routes", number, "when"), route.when) for number, route in enumerate(config.routes)
    ]
    texts += [
        (("sources", name, "event", "without_identity"), source.event.without_identity)
        for name, source in config.sources.items()
    ]
    for loc, text in texts:
        try:
            if text is not None:
                Condition.compile(text)
        except ConditionError as error:
            yield Finding(loc, str(error), error.line, error.column)


def _unused(config: RoutingConfig) -> Iterator[Finding]:
    used = {name for route in config.routes for name in route.publish}
    for name in config.destinations:
        if name not in used:
            yield Finding(("destinations", name), f"no route publishes to the destination {name!r}", at_key=True)
    for name, source in config.sources.items():
        if source.webhook is None and source.queue is None and not source.post_events:
            message = f"only `hub publish` can feed the source {name!r}: it has no webhook, queue or post_events"
            yield Finding(("sources", name), message, at_key=True)


def _uncalled(config: RoutingConfig, known: Known) -> Iterator[Finding]:
    # A slip in the name would leave the provider without its bounds, and nobody would see it.
    for name in config.providers:
        if known.providers is not None and name not in known.providers:
            message = f"no handler calls the provider {name!r}; {nearest(name, known.providers)}"
            yield Finding(("providers", name), message, at_key=True)
