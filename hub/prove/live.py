"""What today's rules say of a stored event: told beside its proof, and no part of it, since rules may change."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from hub.deliver.work import event_of
from hub.operate.reading import TodaysRules
from hub.prove.offline import Finding


def rules_of_today(rules: TodaysRules, stored: Row[Any]) -> list[Finding]:
    """The routes that would take the event today, and why."""
    if stored.problem is not None:
        return [Finding("today", ok=True, detail=f"it could not be read: {stored.problem}")]
    verdicts = [one for one in rules.drafter.router.explain(event_of(stored)) if one.matched]
    if not verdicts:
        return [Finding("today", ok=True, detail="today's rules do not take it")]
    return [
        Finding("today", ok=True, detail=f"{one.route} takes it" + (f": {one.detail}" if one.detail else ""))
        for one in verdicts
    ]
