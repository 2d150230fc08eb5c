"""What a played delivery has to tell: its end, what it would have caused, and what would become of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from hub.clock import Clock
from hub.deliver.effects import Effects, OutgoingMessage
from hub.deliver.registry import Rules
from hub.deliver.settle import Attempt, Settler
from hub.deliver.work import Deferred, Discarded, Done, Ending, Failed, Refused, Work
from hub.event import Event
from hub.explain.model import (
    SETTLED_STATES,
    Consequence,
    Emission,
    Play,
    Rehearsal,
    ShownCall,
    ShownError,
    ShownMessage,
    ShownTimer,
)
from hub.inbox.received import Accepted
from hub.ledger import PostedEntry

STOPPED: Final = "a calling handler's rehearsal ends at its first undecided call: what follows depends on the answer"


@dataclass(slots=True)
class Played:
    """What one delivery did in its rehearsal. ``ending`` is None where it came to a call that was not sent."""

    ending: Ending | None
    effects: Effects | None = None
    entries: Sequence[PostedEntry] = ()
    stored: Sequence[tuple[Accepted, Event]] = ()
    calls: Sequence[ShownCall] = ()
    error: BaseException | None = None


class Teller:
    """Writes into a rehearsal what was played. Nothing is stored."""

    def __init__(self, clock: Clock, rules: Rules) -> None:
        self._clock = clock
        self._rules = rules
        self._settler = Settler(_Unhurried(clock), rules.routes_by_id)

    def tell(self, rehearsal: Rehearsal, work: Work, played: Played) -> None:
        """Complete ``rehearsal``."""
        rehearsal.calls = played.calls
        rehearsal.play = _play_of(played.ending)
        if played.ending is None:
            rehearsal.notes.append(STOPPED)
            return
        if isinstance(played.ending, Failed):
            name = type(played.error).__name__ if played.error is not None else "Error"
            rehearsal.error = ShownError(name, played.ending.error)
        if rehearsal.recorded not in SETTLED_STATES:
            rehearsal.consequence = self._consequence(work, played.ending)
        if isinstance(played.ending, Done | Discarded | Refused):
            rehearsal.outcome = played.ending.outcome
        if played.effects is not None:
            _tell_effects(rehearsal, played)

    def _consequence(self, work: Work, ending: Ending) -> Consequence | None:
        now = self._clock.now()
        foreseen = self._settler.foresee(Attempt(work, ending, now, 0.0))
        route = self._rules.routes_by_id[work.route_id]
        wait_s = (foreseen.next_at - now).total_seconds() if foreseen.next_at is not None else None
        match foreseen.state:
            case "retrying":
                left = route.attempts - work.attempts - 1
                text = f"tried again within {wait_s:g} s, {left} more of {route.attempts} attempts; its chain waits"
            case "deferred":
                text = f"waits outside its chain and is tried again within {wait_s:g} s: {foreseen.reason}"
            case "parked":
                behind = "go on" if route.on_park == "continue" else "wait behind it"
                text = f"parked for a person; later events of its key {behind}"
            case _:
                return None
        return Consequence(foreseen.state, text, wait_s)


def _tell_effects(rehearsal: Rehearsal, played: Played) -> None:
    effects = played.effects
    assert effects is not None
    rehearsal.review = effects.review[1] if effects.review is not None else None
    rehearsal.notes += [
        f"resolves what is open for review of event {one.event_id}: {one.note}" for one in effects.answers
    ]
    rehearsal.entries = tuple(played.entries)
    rehearsal.messages = [_message(one) for one in effects.messages]
    rehearsal.timers = [ShownTimer(one.due_at, one.draft_type, one.key, one.payload) for one in effects.timers]
    rehearsal.tags = sorted(effects.tags)
    rehearsal.emitted = [_emission(answer, event) for answer, event in played.stored]


def _emission(answer: Accepted, event: Event) -> Emission:
    notes: Mapping[str, str] = {
        "duplicate": f"stored before as {answer.event_id}: nothing new happens",
        "conflict": f"conflicts with {answer.event_id}: a person decides",
        "unreadable": f"parked: {answer.problem}",
    }
    return Emission(event, answer.kind, answer.event_id, notes.get(answer.kind, ""))


def _message(message: OutgoingMessage) -> ShownMessage:
    return ShownMessage(
        destination=message.destination,
        routing_key=message.routing_key,
        key=message.key,
        message_id=message.message_id,
        content_type=message.content_type,
        payload=message.payload,
        headers=message.headers,
    )


def _play_of(ending: Ending | None) -> Play:
    match ending:
        case None:
            return "stopped_at_call"
        case Done():
            return "done"
        case Discarded():
            return "discarded"
        case Refused():
            return "refused"
        case Deferred():
            return "deferred"
        case Failed():
            return "failed"
    raise AssertionError("a rehearsed handler calls here, not in a task of its own")


@dataclass(frozen=True, slots=True)
class _Unhurried:
    """The hub's clock without chance: back-off is then the longest that it can be."""

    clock: Clock

    def now(self) -> datetime:
        return self.clock.now()

    def monotonic(self) -> float:
        return self.clock.monotonic()

    def new_id(self) -> UUID:
        return self.clock.new_id()

    def jitter(self) -> float:
        return 1.0
