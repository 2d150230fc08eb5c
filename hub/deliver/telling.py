"""The closing line of every attempt: one line tells the story."""

from __future__ import annotations

import structlog

from hub.deliver import metrics
from hub.deliver.registry import Rules
from hub.deliver.settle import Attempt
from hub.deliver.work import Calling, Failed

log = structlog.get_logger(__name__)


def tell(attempt: Attempt, rules: Rules) -> None:
    """Write down how an attempt ended, now that it is committed."""
    work, ending = attempt.work, attempt.ending
    route = rules.routes_by_id.get(work.route_id)
    name = route.name if route is not None else str(work.route_id)
    metrics.ATTEMPTS.labels(route=name, ending=type(ending).__name__.lower()).inc()
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
    else:
        log.info("delivery_done", outcome=getattr(ending, "outcome", type(ending).__name__.lower()), **fields)
