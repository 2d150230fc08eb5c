"""Taking turns: contestants run one after the other, again and again, and what comes of it is collected."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import asyncpg

from benchmarks.figures import Figure
from benchmarks.goals import STEADY_MAX, Medians
from benchmarks.plan import Plan
from benchmarks.profile import Profile

BROKER_USUAL = "amqp://guest:guest@127.0.0.1:5672/"
ATTEMPTS_MAX = 3
"""How often a scenario is run in all while its baseline is not steady."""

Run = Callable[[], Awaitable[Figure | Sequence[Figure]]]
Say = Callable[[str], None]


@dataclass(slots=True)
class Results:
    """Everything that a run of the benchmarks has found out."""

    figures: dict[str, list[Figure]] = field(default_factory=dict)
    scenario_of: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    profiles: dict[str, Profile] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Bench:
    """One run: how much, on which broker, where the results go, and whom to tell how far it is."""

    plan: Plan
    results: Results
    say: Say
    broker_url: str = field(default_factory=lambda: os.environ.get("HUB_TEST_RABBITMQ_URL") or BROKER_USUAL)

    async def take_turns(
        self, scenario: str, contestants: Mapping[str, Run], *, baseline: str = "", repeats: int = 0
    ) -> None:
        """Run each once, then each again. All of it anew when the baseline was not steady."""
        for attempt in range(1, ATTEMPTS_MAX + 1):
            found: dict[str, list[Figure]] = defaultdict(list)
            for repeat in range(repeats or self.plan.repeats):
                for name, run in contestants.items():
                    for figure in await self._one(f"{scenario}: {name}, {repeat + 1}", run):
                        found[figure.contestant].append(figure)
            if not self._is_unsteady(scenario, found, baseline, attempt):
                break
        for name, figures in found.items():
            self.results.figures[name] = figures
            self.results.scenario_of[name] = scenario

    async def _one(self, what: str, run: Run) -> Sequence[Figure]:
        start = time.monotonic()
        try:
            given = await run()
        except asyncpg.InsufficientPrivilegeError as error:
            self.results.remarks.append(f"{what} was left out: {error}")
            return ()
        except Exception as error:
            # The other runs still have their figures; this one is shown as failed, and the exit code says so.
            self.results.failures.append(f"{what}: {type(error).__name__}: {error}")
            self.say(f"{what} FAILED: {error}")
            return ()
        figures = [given] if isinstance(given, Figure) else given
        told = ", ".join(f"{figure.per_s:,.0f}/s" for figure in figures)
        self.say(f"{what}: {told} ({time.monotonic() - start:.0f} s)")
        return figures

    def _is_unsteady(self, scenario: str, found: Mapping[str, Sequence[Figure]], baseline: str, attempt: int) -> bool:
        if not found.get(baseline):
            return False
        spread = Medians(found).spread(baseline)
        if spread <= STEADY_MAX:
            return False
        again = attempt < ATTEMPTS_MAX
        end = "run again" if again else "kept all the same: trust no ratio of it"
        self.results.remarks.append(f"{scenario}: {baseline} varied by {spread:.2f} between repeats; {end}")
        return again
