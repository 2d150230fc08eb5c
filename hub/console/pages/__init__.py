"""The pages, one module per group; a new group is one module and one line here."""

from __future__ import annotations

from typing import Final

from hub.console.pages import (
    audit,
    calls,
    capabilities,
    event,
    events,
    ledger,
    overview,
    parked,
    review,
    routes,
    schedules,
    settings,
    undecided,
)
from hub.console.visit import Group

GROUPS: Final[tuple[Group, ...]] = (
    overview.GROUP,
    events.GROUP,
    event.GROUP,
    parked.GROUP,
    undecided.GROUP,
    review.REVIEWS,
    review.CONFLICTS,
    routes.GROUP,
    ledger.GROUP,
    calls.GROUP,
    schedules.GROUP,
    capabilities.GROUP,
    settings.GROUP,
    audit.GROUP,
)
"""In the order of the navigation."""
