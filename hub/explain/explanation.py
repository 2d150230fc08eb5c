"""One explanation, whole: what the other modules of this package put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hub.event import Event
from hub.explain.curtain import Curtain
from hub.explain.model import Identity, Rehearsal, UnreadableProblem, Verification
from hub.explain.showing import explanation_dict
from hub.operate.event_view import EventDetails
from hub.routing import RuleVerdict


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything that can be said about one event. ``payload_bytes`` and ``sha256`` are of the payload as it came.

    ``recorded`` is what the hub knows of a stored event, None for a message given by hand.
    """

    event: Event
    payload_bytes: int
    sha256: str
    verification: Verification
    identity: Identity
    problem: UnreadableProblem | None
    rules: Sequence[RuleVerdict]
    rehearsals: Sequence[Rehearsal]
    recorded: EventDetails | None
    curtain: Curtain = field(repr=False)

    @property
    def ok(self) -> bool:
        """The event can be read and is no conflict, a route takes it, and no condition and no rehearsal fails."""
        if self.problem is not None or self.identity.status == "conflict":
            return False
        return (
            any(rule.matched for rule in self.rules)
            and not any(rule.clause == "error" for rule in self.rules)
            and not any(one.failed for one in self.rehearsals)
        )

    def to_dict(self, *, raw: bool = False) -> dict[str, Any]:
        """The explanation as JSON values, under names that stay (docs/explain.md).

        ``raw`` shows what the source masks; secrets are never shown.
        """
        return explanation_dict(self, raw=raw)
