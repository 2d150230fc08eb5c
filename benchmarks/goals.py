"""The goals, and whether the figures of a run reach them. Every goal is a ratio within that run.

Source: docs/performance.md, "Goals".
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.figures import Figure

STEADY_MAX = 1.3
"""The baseline's fastest repeat over its slowest: beyond it, the machine was not quiet enough for any ratio."""

Figures = Mapping[str, Sequence[Figure]]


@dataclass(frozen=True, slots=True)
class Medians:
    """The medians of each contestant's repeats."""

    figures: Figures

    def of(self, contestant: str, name: str) -> float:
        """Raises KeyError when it was not measured."""
        return statistics.median(figure.number(name) for figure in self.figures[contestant])

    def most(self, contestant: str, name: str) -> float:
        """The largest of the repeats, for what must not happen even once. Raises KeyError."""
        return max(figure.number(name) for figure in self.figures[contestant])

    def ratio(self, one: str, other: str, name: str) -> float:
        """Raises KeyError when either was not measured; nothing that was measured is exactly zero."""
        above, below = self.of(one, name), self.of(other, name)
        if not above or not below:
            raise KeyError(name)
        return above / below

    def spread(self, contestant: str, name: str = "per_s") -> float:
        """The largest over the smallest of the repeats; 1 is perfectly steady."""
        numbers = [figure.number(name) for figure in self.figures[contestant]]
        return max(numbers) / min(numbers)


Measure = Callable[[Medians], float]


@dataclass(frozen=True, slots=True)
class Goal:
    """One line of the table. ``must`` has to hold, ``want`` is what we would like; either may be absent.

    ``is_ceiling``: the measured number is to stay at or below, not at or above.
    """

    number: int
    text: str
    measure: Measure
    must: float | None
    want: float | None
    is_ceiling: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """A goal beside what was measured; None where its runs were not part of this one."""

    goal: Goal
    measured: float | None

    @property
    def holds(self) -> bool | None:
        """Whether the first number holds; None when it was not measured or there is none."""
        return self._reaches(self.goal.must)

    @property
    def is_as_wanted(self) -> bool | None:
        """Whether the second number is reached too."""
        return self._reaches(self.goal.want)

    @property
    def share_of_want(self) -> float | None:
        """How much of the second number is reached; 1 and above is all of it."""
        if self.measured is None or not self.goal.want:
            return None
        if not self.goal.is_ceiling:
            return self.measured / self.goal.want
        return self.goal.want / self.measured if self.measured else float("inf")

    def _reaches(self, bound: float | None) -> bool | None:
        if self.measured is None or bound is None:
            return None
        return self.measured <= bound if self.goal.is_ceiling else self.measured >= bound


def verdicts(figures: Figures) -> list[Verdict]:
    """All goals, in order."""
    medians = Medians(figures)
    return [Verdict(goal, _measured(goal, medians)) for goal in GOALS]


def _measured(goal: Goal, medians: Medians) -> float | None:
    try:
        return goal.measure(medians)
    except KeyError:
        return None


def _least(number: int, text: str, measure: Measure, must: float | None, want: float | None) -> Goal:
    return Goal(number, text, measure, must, want)


def _most(number: int, text: str, measure: Measure, must: float | None, want: float | None) -> Goal:
    return Goal(number, text, measure, must, want, is_ceiling=True)


def _routing_share(medians: Medians) -> float:
    """Of the processor time that the worker spends on one event, with a thousand rules."""
    worker_us = medians.of("rules 1000", "worker_cpu_s") * 1000
    return medians.of("rules 1000", "route_us") / worker_us


GOALS: Sequence[Goal] = (
    _least(1, "queue to queue, times naive", lambda m: m.ratio("hub", "naive", "per_s"), 15, 25),
    _least(1, "queue to queue, share of SQL alone", lambda m: m.ratio("hub", "sql alone", "per_s"), 0.22, 0.38),
    _least(2, "CPU in all, times less than naive", lambda m: m.ratio("naive", "hub", "cpu_s"), 12, 20),
    _least(2, "CPU of the worker, times less", lambda m: m.ratio("naive", "hub", "worker_cpu_s"), 20, 35),
    _most(3, "p50 at 40/s, of naive", lambda m: m.ratio("hub at 40/s", "naive at 40/s", "p50_ms"), 0.6, 0.45),
    _most(3, "p99 at 40/s, of naive", lambda m: m.ratio("hub at 40/s", "naive at 40/s", "p99_ms"), 0.6, 0.45),
    _most(3, "p99 at 400/s, of its own at 40/s", lambda m: m.ratio("hub at 400/s", "hub at 40/s", "p99_ms"), 1.5, 1.5),
    _least(4, "durable 200, share of no database", lambda m: m.ratio("accept", "server alone", "acks_per_s"), 0.6, 0.8),
    _least(4, "webhook end to end, times naive", lambda m: m.ratio("webhook", "webhook naive", "per_s"), 12, 20),
    _most(4, "backlog behind the last 200, s", lambda m: m.of("webhook", "backlog_s"), 1, 1),
    _least(5, "SQLite batch 100, times naive", lambda m: m.ratio("sqlite 100", "sqlite naive", "per_s"), 40, None),
    _least(5, "SQLite batch 500, times naive", lambda m: m.ratio("sqlite 500", "sqlite naive", "per_s"), None, 100),
    _least(5, "SQLite single events, times naive", lambda m: m.ratio("sqlite single", "sqlite naive", "per_s"), 15, 23),
    _least(6, "rate with a million events stored", lambda m: m.ratio("past 1000000", "past 0", "per_s"), 0.75, 0.9),
    _most(6, "picking pending work, of empty", lambda m: m.ratio("past 1000000", "past 0", "pick_ms"), 2, 2),
    _most(6, "counting pending work, of empty", lambda m: m.ratio("past 1000000", "past 0", "count_ms"), 2, 2),
    _most(7, "routing by 1,000 rules, of 10", lambda m: m.ratio("rules 1000", "rules 10", "route_us"), 2, 2),
    _most(7, "time per event with 1,000 rules, of 10", lambda m: m.ratio("rules 10", "rules 1000", "per_s"), 2, 2),
    _most(7, "routing's share of the worker's CPU", _routing_share, 0.02, 0.02),
    _least(8, "rate on a slow disk", lambda m: m.ratio("slow disk", "plain", "per_s"), 0.85, 0.85),
    _most(9, "peak memory, of naive", lambda m: m.ratio("hub", "naive", "peak_mb"), 1.5, 1.5),
    _most(9, "peak memory with a backlog, of usual", lambda m: m.ratio("backlog", "hub", "peak_mb"), 1.2, 1.2),
    _least(10, "rate with 1 % poison events", lambda m: m.ratio("poison", "plain", "per_s"), 0.5, 0.8),
    _most(10, "p99 of the others at 400/s", lambda m: m.ratio("400/s, poison", "hub at 400/s", "p99_ms"), 1.5, 1.5),
    _least(11, "two processes, of one", lambda m: m.ratio("hub x2", "hub", "per_s"), 1.1, 1.1),
    _most(11, "deadlocks in 100,000 events", lambda m: m.most("backlog x2", "deadlocks"), 0, 0),
    _least(11, "rate with one hot account", lambda m: m.ratio("hot account", "plain", "per_s"), 0.8, 0.8),
    _least(12, "calls, share of what 2 in flight allow", lambda m: m.of("2 in flight", "share_of_bound"), 0.9, 0.9),
    _least(12, "calls, share of a rate of 10/s", lambda m: m.of("10 calls/s", "share_of_bound"), 0.9, 0.9),
)
