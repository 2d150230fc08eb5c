"""The verdict on the first page: what is wrong, worst first, each with why it matters and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from hub.console.words import age, plural
from hub.console.worklist import Counts
from hub.flow.pauses import Pause
from hub.operate.checks import KeptCheck
from hub.operate.pausing import ProviderView
from hub.operate.undecided import AGES_S, AgesOfProvider

Tone: TypeAlias = Literal["bad", "wait", "good"]
SLOW_S: Final = 60.0
STUCK_S: Final = 900.0
SENDING_MAX: Final = 10_000
"""More messages than this on their way mean that they are not sent as fast as they are made."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the verdict is found from. ``oldest_s`` is how long the oldest undone event waits, parked ones apart."""

    counts: Counts
    oldest_s: float | None
    ages: Sequence[AgesOfProvider]
    pauses: Sequence[Pause]
    providers: Sequence[ProviderView]
    check: KeptCheck | None
    check_is_old: bool
    unsent: int


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: what, why it matters, what to do, and where."""

    tone: Tone
    what: str
    why: str
    action: str
    path: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """All findings, worst first, and one sentence for all of them."""

    tone: Tone
    sentence: str
    findings: Sequence[Finding]


def verdict(facts: Facts) -> Verdict:
    """Judge."""
    found = sorted(_findings(facts), key=lambda one: ("bad", "wait").index(one.tone))
    if not found:
        return Verdict("good", "Nothing is stuck.", ())
    bad = [one for one in found if one.tone == "bad"]
    if bad:
        return Verdict("bad", f"{plural(len(bad), 'thing')} needs you." if len(bad) == 1 else _need(bad), found)
    return Verdict("wait", "Nothing is lost; something is slow or held back.", found)


def _need(bad: Sequence[Finding]) -> str:
    return f"{plural(len(bad), 'thing')} need you."


def _findings(facts: Facts) -> Iterator[Finding]:
    yield from _books(facts)
    yield from _money(facts)
    yield from _work(facts)
    yield from _flow(facts)


def _books(facts: Facts) -> Iterator[Finding]:
    if facts.check is not None and not facts.check.holds:
        what = f"The proof found {plural(len(facts.check.violations), 'violation')}."
        why = "Something is not accounted for, or the books do not add up."
        yield Finding("bad", what, why, "See what", "/check")
    elif facts.check is not None and facts.check_is_old:
        yield Finding("wait", "The last proof is more than a day old.", "It costs one click.", "Prove it now", "/check")


def _money(facts: Facts) -> Iterator[Finding]:
    for one in facts.ages:
        if one.late:
            is_old = sum(one.counts[2:]) > 0
            what = f"{plural(one.late, 'call')} to {one.provider} without a known outcome."
            bound = age(AGES_S[1]) if is_old else age(AGES_S[0])
            why = f"Money may have moved. The oldest is open for more than {bound}."
            yield Finding("bad" if is_old else "wait", what, why, "See what can be done", "/undecided")
    if facts.counts.conflicts:
        what = f"{plural(facts.counts.conflicts, 'event')} came again with other content."
        yield Finding("bad", what, "Which one holds is for a person to say.", "Compare them", "/conflicts")


def _work(facts: Facts) -> Iterator[Finding]:
    counts = facts.counts
    if counts.parked:
        what = f"{plural(counts.parked, 'delivery', 'deliveries')} parked."
        yield Finding("bad", what, "What comes later for the same key may wait behind.", "Retry or discard", "/parked")
    if counts.unsent:
        what = f"{plural(counts.unsent, 'message')} that no queue takes."
        yield Finding(
            "bad", what, "Consumers do not hear what follows for the same key.", "See why", "/parked#messages"
        )
    if counts.reviews:
        what = f"{plural(counts.reviews, 'result')} to be looked at."
        yield Finding("wait", what, "It was done, but not as it usually is.", "Look at them", "/reviews")
    if facts.oldest_s is not None and facts.oldest_s > SLOW_S:
        tone: Tone = "bad" if facts.oldest_s > STUCK_S and not facts.pauses else "wait"
        what = f"An event has waited for {age(facts.oldest_s)}."
        yield Finding(
            tone, what, "It backs off, waits behind another one, or nobody works.", "Find it", "/events?state=waiting"
        )


def _flow(facts: Facts) -> Iterator[Finding]:
    waiting = {one.name: one.waiting for one in facts.providers}
    for one in facts.pauses:
        is_circuit = one.cause == "circuit"
        what = f"The {one.kind} {one.name} {'does not answer' if is_circuit else 'stands still'}."
        count = waiting.get(one.name, 0)
        held = f" {plural(count, 'delivery waits', 'deliveries wait')}." if count else ""
        why = f"By {one.paused_by}: {one.reason or 'no reason given'}.{held}"
        yield Finding("bad" if is_circuit else "wait", what, why, "Resume or wait", "/routes#standing-still")
    if facts.unsent > SENDING_MAX:
        yield Finding(
            "wait",
            f"{plural(facts.unsent, 'message')} still to be sent.",
            "The broker is slow, or away.",
            "See the routes",
            "/routes",
        )
