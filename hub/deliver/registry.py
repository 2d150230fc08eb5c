"""The rules a worker works by: routes by their number, handlers by their name. A reload makes a new object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hub.capability import HandlerSpec
from hub.inbox.drafting import Drafter
from hub.routing import CompiledRoute


@dataclass(frozen=True, slots=True)
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
