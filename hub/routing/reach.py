"""Which events a source can send, and so which routes it can reach. Read from the file alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hub.routing.config import RouteConfig, RoutingConfig
from hub.routing.fields import RESERVED_SOURCES, SCHEDULE_PREFIX
from hub.routing.patterns import overlap
from hub.routing.sources import ROUTING_KEY

ANY = ("#",)


def source_names(config: RoutingConfig) -> list[str]:
    """Every source there is: those of the file, one per schedule, and the hub's own."""
    return [*config.sources, *(SCHEDULE_PREFIX + name for name in config.schedules), *RESERVED_SOURCES]


def types_from(config: RoutingConfig, source: str, emitted: Iterable[str] | None = None) -> tuple[str, ...]:
    """Patterns of the types that this source can send.

    ``emitted`` names what handlers may emit under the hub's own sources; unset, it is anything as soon as there is a
    capability. A queue that binds by type sends what it binds; ``hub publish`` can do more, but by hand.
    """
    if source.startswith(SCHEDULE_PREFIX):
        schedule = config.schedules.get(source.removeprefix(SCHEDULE_PREFIX))
        return (schedule.emit,) if schedule is not None else ()
    if source in RESERVED_SOURCES:
        return tuple(emitted) if emitted is not None else ANY if config.capabilities else ()
    declared = config.sources[source]
    if declared.event.fixed_type is not None:
        return (declared.event.fixed_type,)
    is_queue_only = declared.queue is not None and declared.webhook is None and not declared.post_events
    if declared.event.type != ROUTING_KEY or not is_queue_only or declared.queue is None:
        return ANY
    return (*declared.queue.bind, *declared.event.rename.values())


def reaches(config: RoutingConfig, source: str, route: RouteConfig, emitted: Iterable[str] | None = None) -> str | None:
    """A type of this source that the route matches; None when there is none. Conditions are not looked at."""
    if route.source and source not in route.source:
        return None
    return common_type(types_from(config, source, emitted), route.match)


def common_type(left: Sequence[str], right: Sequence[str]) -> str | None:
    """A type that some pattern of each side matches."""
    for one in left:
        for other in right:
            found = one if one == other else overlap(one, other)
            if found is not None:
                return found
    return None
