"""Decides which routes take an event, and can say why each did or did not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal

from hub.event import Event
from hub.routing.conditions import Condition, ConditionError, Facts
from hub.routing.config import RouteConfig
from hub.routing.explain import describe_when
from hub.routing.load import LoadedRouting
from hub.routing.patterns import PatternIndex, matches

Clause = Literal["disabled", "match", "source", "when", "error"]
"""The part of a rule that decided: the first that failed, or ``error`` where a condition could not be evaluated."""

_NO_MASK: Final[tuple[str, ...]] = ()


@dataclass(frozen=True, slots=True)
class CompiledRoute:
    """One route, with everything that delivering needs. ``number`` is its place in the file."""

    number: int
    name: str
    was: tuple[str, ...]
    match: tuple[str, ...]
    sources: frozenset[str]
    handle: str | None
    publish: tuple[str, ...]
    attempts: int
    first_s: float
    longest_s: float
    on_park: Literal["wait", "continue"]
    disabled: bool
    options: Mapping[str, Any] = field(repr=False)
    condition: Condition | None = None

    @classmethod
    def of(cls, number: int, config: RouteConfig) -> CompiledRoute:
        """Compile one route of the file. Raises ConditionError; ``load_routing`` has refused such a file already."""
        return cls(
            number=number,
            name=config.name,
            was=config.was,
            match=config.match,
            sources=frozenset(config.source),
            handle=config.handle,
            publish=config.publish,
            attempts=config.retry.attempts,
            first_s=config.retry.first_s,
            longest_s=config.retry.longest_s,
            on_park=config.on_park,
            disabled=config.disabled,
            options=MappingProxyType(config.options),
            condition=Condition.compile(config.when) if config.when is not None else None,
        )


@dataclass(frozen=True, slots=True)
class RouteMatch:
    """A route that takes the event. With ``error``, its condition could not be evaluated: park that delivery."""

    route: CompiledRoute
    error: str | None = None


@dataclass(frozen=True, slots=True)
class RuleVerdict:
    """What one rule said to one event; ``clause`` and ``detail`` tell what decided, ``clause`` is None for a match."""

    route: str
    matched: bool
    clause: Clause | None
    detail: str


class Router:
    """The rules of one routing.yaml, compiled. Holds no state that an event changes; a reload makes a new one."""

    def __init__(self, loaded: LoadedRouting) -> None:
        self.loaded = loaded
        self.routes: tuple[CompiledRoute, ...] = tuple(
            CompiledRoute.of(number, config) for number, config in enumerate(loaded.config.routes)
        )
        # Made once: nearly every match is one of these.
        self._matches = tuple(RouteMatch(route) for route in self.routes)
        self._by_name = {name: route for route in self.routes for name in (*route.was, route.name)}
        # A disabled route is not in the index at all; explain looks at it apart.
        self._index = PatternIndex([() if route.disabled else route.match for route in self.routes])

    def route(self, event: Event) -> list[RouteMatch]:
        """Every route that takes this event, in the order of the file."""
        facts = Facts(event)
        found = []
        for number in self._index.match(event.type):
            route = self.routes[number]
            if route.sources and event.source not in route.sources:
                continue
            match = self._matches[number] if route.condition is None else _judge(route, facts)
            if match is not None:
                found.append(match)
        return found

    def named(self, name: str) -> CompiledRoute | None:
        """The route of this name, or the one that was called so before."""
        return self._by_name.get(name)

    def explain(self, event: Event) -> list[RuleVerdict]:
        """What each rule says to this event, and the clause that decided."""
        facts = Facts(event)
        return [self._explain(route, event, facts) for route in self.routes]

    def explain_one(self, name: str, event: Event) -> RuleVerdict:
        """What one rule says to this event. Raises KeyError for an unknown name."""
        return self._explain(self._by_name[name], event, Facts(event))

    def _explain(self, route: CompiledRoute, event: Event, facts: Facts) -> RuleVerdict:
        source = self.loaded.config.sources.get(event.source)
        mask = source.mask if source is not None else _NO_MASK
        return _explained(route, event, facts, mask, route.number in self._index.match(event.type))


def _judge(route: CompiledRoute, facts: Facts) -> RouteMatch | None:
    if route.condition is None:
        return RouteMatch(route)
    try:
        return RouteMatch(route) if route.condition.holds(facts) else None
    except ConditionError as error:
        return RouteMatch(route, f"when: {error}")


def _explained(
    route: CompiledRoute, event: Event, facts: Facts, mask: Sequence[str], is_type_matched: bool
) -> RuleVerdict:
    if route.disabled:
        return RuleVerdict(route.name, False, "disabled", "the route is disabled")
    if not is_type_matched:
        detail = f"the type {event.type} is matched by none of: {', '.join(route.match)}"
        return RuleVerdict(route.name, False, "match", detail)
    if route.sources and event.source not in route.sources:
        detail = f"the source {event.source} is none of: {', '.join(sorted(route.sources))}"
        return RuleVerdict(route.name, False, "source", detail)
    match = _judge(route, facts)
    if match is None or match.error is not None:
        assert route.condition is not None
        detail = describe_when(route.condition.text, event, facts, mask)
        # A rule that cannot be evaluated does make a delivery: it is parked, so that nobody loses the event.
        return RuleVerdict(route.name, match is not None, "when" if match is None else "error", detail)
    return RuleVerdict(route.name, True, None, _why_matched(route, event))


def _why_matched(route: CompiledRoute, event: Event) -> str:
    taking = [pattern for pattern in route.match if matches(pattern, event.type)]
    reasons = [f"the type {event.type} is matched by {', '.join(taking)}"]
    if route.sources:
        reasons.append(f"the source is {event.source}")
    if route.condition is not None:
        reasons.append(f"{' '.join(route.condition.text.split())} is true")
    return "; ".join(reasons)
