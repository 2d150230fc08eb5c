"""What ``hub routes test`` finds out: whether the examples hold, which rules have none, and what looks like a slip.

Returns results and prints nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from hub.errors import HubError, Problem
from hub.event import Event
from hub.routing.config import ExampleConfig, RouteConfig
from hub.routing.examples import event_of_example
from hub.routing.load import LoadedRouting
from hub.routing.router import Router
from hub.routing.slips import find_slips

EventBuilder: TypeAlias = Callable[[LoadedRouting, RouteConfig, ExampleConfig], Event]


@dataclass(frozen=True, slots=True)
class ExampleResult:
    """One example: what the route was to do, what it did, and the clause that decided."""

    route: str
    file: str
    expected: bool
    matched: bool | None
    """None when there was no event to ask about, or the condition could not be evaluated."""
    detail: str
    place: Problem

    @property
    def ok(self) -> bool:
        """Whether the route did what the example says."""
        return self.matched is self.expected


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many examples a route has: those it must take, and those it must leave."""

    route: str
    taken: int
    left: int
    is_conditional: bool
    is_disabled: bool

    @property
    def is_covered(self) -> bool:
        """Whether some example shows the route at work; a disabled route needs none."""
        return self.taken > 0 or self.is_disabled

    @property
    def lacks_counterexample(self) -> bool:
        """Whether the route has a condition, but no example that the condition leaves."""
        return self.is_conditional and self.left == 0 and not self.is_disabled


@dataclass(frozen=True, slots=True)
class CheckReport:
    """Everything that was found."""

    examples: tuple[ExampleResult, ...]
    coverage: tuple[Coverage, ...]
    warnings: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether every example holds. Warnings and missing examples do not count."""
        return all(example.ok for example in self.examples)

    @property
    def uncovered(self) -> tuple[str, ...]:
        """The routes that no example shows at work."""
        return tuple(route.route for route in self.coverage if not route.is_covered)

    @property
    def covered_share(self) -> float:
        """Covered routes of all routes, from 0 to 1."""
        return 1 - len(self.uncovered) / len(self.coverage) if self.coverage else 1.0


def check_rules(
    loaded: LoadedRouting, *, build: EventBuilder = event_of_example, emitted: Iterable[str] | None = None
) -> CheckReport:
    """Run every example and look for slips.

    ``build`` makes the event of an example; it may raise HubError. ``emitted`` names the types that handlers emit;
    without it, anything may come from within once there is a capability.
    """
    router = Router(loaded)
    return CheckReport(
        examples=tuple(_run_examples(loaded, router, build)),
        coverage=tuple(map(_coverage, loaded.config.routes)),
        warnings=(*loaded.warnings, *find_slips(loaded, emitted)),
    )


def _run_examples(loaded: LoadedRouting, router: Router, build: EventBuilder) -> Iterator[ExampleResult]:
    for number, route in enumerate(loaded.config.routes):
        for position, example in enumerate(route.examples):
            matched, detail = _run(loaded, router, route, example, build)
            place = loaded.problem(("routes", number, "examples", position), detail)
            yield ExampleResult(route.name, example.file, example.matches, matched, detail, place)


def _run(
    loaded: LoadedRouting, router: Router, route: RouteConfig, example: ExampleConfig, build: EventBuilder
) -> tuple[bool | None, str]:
    try:
        event = build(loaded, route, example)
    except HubError as error:
        return None, str(error)
    verdict = router.explain_one(route.name, event)
    return None if verdict.clause == "error" else verdict.matched, verdict.detail


def _coverage(route: RouteConfig) -> Coverage:
    taken = sum(example.matches for example in route.examples)
    return Coverage(route.name, taken, len(route.examples) - taken, route.when is not None, route.disabled)
