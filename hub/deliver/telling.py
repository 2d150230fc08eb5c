"""The closing line of every attempt: one line tells the story. Under load, those that went well share one."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import structlog

from hub import tracing
from hub.deliver import metrics
from hub.deliver.registry import Rules
from hub.deliver.settle import Attempt
from hub.deliver.work import Calling, Done, Failed, Refused, Work

APART_MAX = 10
"""A batch of so many is told one by one; of a larger one, a line of its own for each costs as much as the delivery."""
TOGETHER_MAX = 100
"""How many deliveries share a line: collectors of logs cut lines that are too long."""

OUTCOMES_MAX = 100
"""How many words one route may bring into the metrics; handlers mean them as a closed set."""
OTHER = "other"

_outcomes: dict[str, set[str]] = {}

log = structlog.get_logger(__name__)


def tell_all(attempts: Sequence[Attempt], rules: Rules) -> None:
    """Write down how the attempts of one batch ended, now that they are committed."""
    if len(attempts) <= APART_MAX:
        for attempt in attempts:
            tell(attempt, rules)
        return
    together: defaultdict[tuple[str, str], list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        if isinstance(attempt.ending, Done) and not attempt.work.attempts:
            together[_route_of(attempt.work, rules), attempt.ending.outcome].append(attempt)
        else:
            tell(attempt, rules)
    counts: Counter[str] = Counter()
    for (route, outcome), alike in together.items():
        counts[route] += len(alike)
        for first in range(0, len(alike), TOGETHER_MAX):
            _tell_together(alike[first : first + TOGETHER_MAX], route, outcome)
        tracing.delivered(alike, route)
        _count_outcome(route, outcome, len(alike))
    for route, count in counts.items():
        metrics.ATTEMPTS.labels(route=route, ending="done").inc(count)


def tell(attempt: Attempt, rules: Rules) -> None:
    """Write down how an attempt ended, now that it is committed."""
    work, ending = attempt.work, attempt.ending
    name = _route_of(work, rules)
    metrics.ATTEMPTS.labels(route=name, ending=type(ending).__name__.lower()).inc()
    tracing.delivered([attempt], name)
    if isinstance(ending, Done | Refused):
        _count_outcome(name, ending.outcome)
    fields = {
        "event_id": str(work.event.id),
        "trace_id": work.event.trace_id,
        "route": name,
        "attempt": work.attempts + 1,
        "duration_ms": round(attempt.duration_ms, 1),
    }
    if isinstance(ending, Calling):
        log.debug("delivery_calling", **fields)
    elif isinstance(ending, Failed):
        log.warning("delivery_failed", error=ending.kind or ending.error, **fields)
    elif isinstance(ending, Refused):
        log.info("delivery_refused", outcome=ending.outcome, **fields)
    else:
        log.info("delivery_done", outcome=getattr(ending, "outcome", type(ending).__name__.lower()), **fields)


def tell_commands(attempts: Sequence[Attempt], rules: Rules) -> None:
    """Count and trace what commands did, now that they are committed; their sender was told, so nothing is logged."""
    for attempt in attempts:
        name = _route_of(attempt.work, rules)
        tracing.delivered([attempt], name)
        if isinstance(attempt.ending, Done):
            _count_outcome(name, attempt.ending.outcome)


def _count_outcome(route: str, outcome: str, count: int = 1) -> None:
    known = _outcomes.setdefault(route, set())
    if outcome not in known and len(known) >= OUTCOMES_MAX:
        outcome = OTHER
    known.add(outcome)
    # A handler may quote its sender; half a character would keep all figures from ever being told again.
    told = outcome.encode("utf-8", "replace").decode()
    metrics.OUTCOMES.labels(route=route, outcome=told).inc(count)


def _tell_together(alike: Sequence[Attempt], route: str, outcome: str) -> None:
    log.info(
        "deliveries_done",
        route=route,
        outcome=outcome,
        attempt=1,
        count=len(alike),
        duration_ms=round(sum(one.duration_ms for one in alike), 1),
        event_ids=[str(one.work.event.id) for one in alike],
        trace_ids=[one.work.event.trace_id for one in alike],
    )


def _route_of(work: Work, rules: Rules) -> str:
    route = rules.routes_by_id.get(work.route_id)
    return route.name if route is not None else str(work.route_id)
