"""The rules a worker works by: routes by their number, handlers by their name. A reload makes a new object."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from hub.capability import HandlerSpec
from hub.inbox.drafting import Drafter
from hub.routing import CompiledRoute


@dataclass(frozen=True)
class Rules:
    """One version of the wiring."""

    routes_by_id: Mapping[int, CompiledRoute]
    route_ids: Mapping[str, int]
    handlers: Mapping[str, HandlerSpec]
    drafter: Drafter
    """Routes what handlers emit by this same version, whose numbers ``route_ids`` has."""

    def targets_of(self, route_id: int) -> Sequence[str]:
        """The destinations of a route; none when it is gone."""
        route = self.routes_by_id.get(route_id)
        return route.publish if route is not None else ()

    def handler_of(self, route_id: int) -> HandlerSpec | None:
        """The handler of a route; None when it only publishes or is gone."""
        route = self.routes_by_id.get(route_id)
        return self.handlers.get(route.handle) if route is not None and route.handle is not None else None

    @cached_property
    def calling(self) -> Mapping[int, HandlerSpec]:
        """The routes whose handlers call a provider, with their handlers."""
        specs = {one: self.handler_of(one) for one in self.routes_by_id}
        return {one: spec for one, spec in specs.items() if spec is not None and spec.kind == "calls"}

    def called(self, names: Collection[str]) -> set[int]:
        """The routes that have, or had before a rename, one of these names."""
        if not names:
            return set()
        routes = self.routes_by_id.items()
        return {one for one, route in routes if route.name in names or set(route.was) & set(names)}
