"""Which messages come in from each source and go out to each destination, read from routing.yaml and capabilities.

What a source sends that no route names one by one, and what a handler publishes without saying so, is told as a
pattern (``#``) without a schema. Source: docs/messages.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pydantic import BaseModel

from hub.apidoc.schemas import Schemas
from hub.capability import Capability, HandlerSpec
from hub.routing.config import DestinationConfig, RouteConfig, RoutingConfig
from hub.routing.fields import RESERVED_SOURCES
from hub.routing.patterns import is_literal, matches
from hub.routing.reach import common_type, source_names, types_from

KEY_SHOWN, SOURCE_SHOWN = "{key}", "{source}"
"""How a routing key shows what is only known when a message is sent."""


@dataclass(frozen=True, slots=True, order=True)
class Form:
    """One kind of message at one place.

    ``type`` is the event's type, or a pattern of types that nobody has named one by one. ``schemas`` are names; the
    body fits all of them, and none is said where there is none.
    """

    type: str
    routing_key: str
    schemas: tuple[str, ...] = ()


class Traffic:
    """The messages of one version of routing.yaml with its capabilities."""

    def __init__(self, config: RoutingConfig, capabilities: Iterable[Capability]) -> None:
        members = tuple(capabilities)
        self.config = config
        self.schemas = Schemas.of(members)
        self._handlers: Mapping[str, HandlerSpec] = {
            f"{one.name}.{name}": spec for one in members for name, spec in one.handlers.items()
        }
        self._emits = {type_: model for one in members for type_, model in one.emits.items()}
        self._publishes = {
            f"{one.name}.{name}": messages for one in members for name, messages in one.publishes.items()
        }
        self._reads = {f"{one.name}.{name}": models for one in members for name, models in one.reads.items()}
        self._listed = {f"{one.name}.{name}": model for one in members for name, model in one.schemas.items()}

    def incoming(self, source: str) -> list[Form]:
        """What a declared source sends, as far as its own declaration or a route names it."""
        sendable = {one for one in types_from(self.config, source) if is_literal(one)}
        found = sendable.union(*(self._types(route, source) for route in self._routes_of(source)))
        return [Form(one, one, self._schemas_in(one, source)) for one in sorted(found)]

    def outgoing(self, name: str) -> list[Form]:
        """What goes to a destination, under the routing keys that it has there."""
        destination = self.config.destinations[name]
        forms = {
            form.routing_key: form
            for route in self.config.routes
            if name in route.publish and not route.disabled
            for form in self._sent_by(route, destination)
        }
        return sorted(forms.values())

    def _sent_by(self, route: RouteConfig, destination: DestinationConfig) -> Iterator[Form]:
        if route.handle is None:
            for source in route.source or source_names(self.config):
                for type_ in self._types(route, source):
                    key = destination.routing_key_for(type_=type_, key=KEY_SHOWN, source=source)
                    yield Form(type_, key, self._schemas_in(type_, source))
            return
        published = self._publishes.get(route.handle)
        for type_, model in (published or {}).items():
            key = destination.routing_key_for(type_=type_, key=KEY_SHOWN, source=SOURCE_SHOWN)
            yield Form(type_, key, (self.schemas.name_of(model),))
        if published is None:
            yield Form("#", "#")

    def _types(self, route: RouteConfig, source: str) -> set[str]:
        """What this route takes of this source: types where somebody names them one by one, else patterns."""
        sendable = types_from(self.config, source, self._emits)
        found: set[str] = set()
        for pattern in route.match:
            named = {one for one in (*sendable, pattern) if is_literal(one) and matches(pattern, one)}
            fitting = {one for one in named if any(matches(able, one) for able in sendable)}
            # Of what handlers emit, only what they say is known; a rule that names a source and a type knows both.
            is_meant = source not in RESERVED_SOURCES and common_type((pattern,), sendable) is not None
            if not fitting and (is_meant or (source in route.source and is_literal(pattern))):
                fitting = {pattern}
            found |= fitting
        return found

    def _routes_of(self, source: str) -> Iterator[RouteConfig]:
        for route in self.config.routes:
            if not route.disabled and (not route.source or source in route.source):
                yield route

    def _schemas_in(self, type_: str, source: str) -> tuple[str, ...]:
        if not is_literal(type_):
            return ()
        if source in RESERVED_SOURCES and type_ in self._emits:
            return self._names([self._emits[type_]])
        declared = self.config.sources[source].event.schema_name if source in self.config.sources else None
        models = [self._listed[declared]] if declared is not None else []
        return self._names([*models, *self._read_as(type_, source)])

    def _read_as(self, type_: str, source: str) -> list[type[BaseModel]]:
        models = (
            self._handlers[route.handle].model or self._reads.get(route.handle, {}).get(type_)
            for route in self._routes_of(source)
            if route.handle is not None and any(matches(pattern, type_) for pattern in route.match)
        )
        return [model for model in models if model is not None]

    def _names(self, models: Iterable[type[BaseModel]]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.schemas.name_of(model) for model in models))
