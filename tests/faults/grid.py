"""Crash points, shared by all stories: which there are, which of them a run tries, and trying them.

The long run raises at every place of every story, at one of the times that it is reached, and kills at one in so many.
Each story is on one database in a run and on the other in the next, by HUB_TEST_SEED; HUB_TEST_POINTS=every tries every
point on both.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import product
from random import Random
from typing import TypeAlias

import pytest

from tests.faults.conftest import IS_EVERYTHING, POINTS
from tests.faults.life import LivesHere
from tests.faults.places import STORIES, expect_no_fewer
from tests.faults.seams import Point
from tests.faults.stage import Stage
from tests.faults.trial import Verdict, clean_run
from tests.support.databases import DIALECTS

SEED = int(os.environ.get("HUB_TEST_SEED", "1"))
SHARES = 4 if IS_EVERYTHING else 1
"""Parts of the points of one story, so that processes can share the work: most of a trial is waiting."""
RUNS = 2 if IS_EVERYTHING else 1
"""Runs without a crash that must all meet a point: what only one of them meets is passed by more often."""
KILLED_PART = 4
"""Of the places where a hub is cut off in the long run, one in so many is also where a process is killed."""
PASSED_BY_MAX = 0.1
"""The part of the points that may not be met again, whatever is tried: more, and the harness misses what it aims at."""
PASSED_BY_FEW = 4
GRID_S_MAX = 7_200 if IS_EVERYTHING else 1_800
"""What one test may take."""
Trial: TypeAlias = Callable[[Point], Awaitable[Verdict]]
"""Plays a story, lets the hub die or fail at this point, and asks the judge."""
_KNOWN: dict[tuple[str, str, bool], list[Point]] = {}
"""The points of each story. The samples of one process draw from one run: it takes longer than what they try."""

WARNINGS = [
    # Connections are closed under the hub's feet here.
    pytest.mark.filterwarnings("ignore:The garbage collector is trying to clean up"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def assign_databases(stories: Iterable[str]) -> list[tuple[str, str]]:
    """Each story of a long run with its database, or with both."""
    if POINTS == "every":
        return list(product(stories, DIALECTS))
    return [(story, DIALECTS[(SEED + STORIES.index(story)) % len(DIALECTS)]) for story in stories]


async def points_of(stage: Stage, *, with_opening: bool) -> list[Point]:
    """Every point that all runs without a crash meet, in an order that is the same each time."""
    story = (stage.scenario.name, stage.dialect, with_opening)
    if story not in _KNOWN:
        _KNOWN[story] = await _met_by(stage, with_opening=with_opening)
    return _KNOWN[story]


async def _met_by(stage: Stage, *, with_opening: bool) -> list[Point]:
    clean = [await clean_run(stage, LivesHere()) for _ in range(RUNS)]
    for verdict, _, _ in clean:
        assert not verdict.violations, report([verdict])
    expect_no_fewer(stage.scenario.name, stage.dialect, {point.place for _, points, _ in clean for point in points})
    met = [set(points if with_opening else points[opened:]) for _, points, opened in clean]
    return sorted(set.intersection(*met))


def chosen(points: Iterable[Point], *, share: int = 0, shares: int = 1, part: int = 1) -> list[Point]:
    """For the long run: each place, or one in ``part``, at one of its times; of these, one share.

    What is drawn hangs on the place and the seed alone, so that shares make up the whole although each of them looks
    for the points anew.
    """
    found = []
    for place, times in sorted(by_place(points).items()):
        chance = Random(f"{SEED} {place}")
        if chance.randrange(shares) == share and chance.randrange(part) == 0:
            found += times if POINTS == "every" else [chance.choice(times)]
    return found


def by_place(points: Iterable[Point]) -> dict[str, list[Point]]:
    """The times that each place is reached."""
    found: dict[str, list[Point]] = {}
    for point in points:
        found.setdefault(point.place, []).append(point)
    return found


async def try_all(attempt: Trial, points: Iterable[Point], way: str, tally: Counter[str]) -> list[Verdict]:
    """Try each point, count it under the ``way`` of dying there, and return the verdicts that found something."""
    found = []
    for point in points:
        verdict = await try_point(attempt, point)
        tally[way if verdict.was_reached else "passed by"] += 1
        tally.update({"events": verdict.events, "violations": len(verdict.violations)})
        if verdict.violations:
            found.append(verdict)
    return found


async def try_point(attempt: Trial, point: Point) -> Verdict:
    """Try it; where the run takes another way around it, try what ``aims_at`` has instead."""
    for aim in aims_at(point):
        verdict = await attempt(aim)
        if verdict.was_reached or verdict.violations:
            break
    return verdict


def aims_at(point: Point) -> list[Point]:
    """A run may take another way around a point, where two loops race: what is tried then.

    On a busy machine a loop goes round less often, and a place that was reached five times is so only three times; its
    first time is as good, where it is the place that counts.
    """
    return [point, point if POINTS == "every" else Point(point.place, 1)]


def one_of_each_place(points: Iterable[Point], chance: Random, *, part: int) -> list[Point]:
    """For a sample: one place in so many, at one of the times that it is reached."""
    every = list(by_place(points).values())
    return [chance.choice(times) for times in chance.sample(every, -(-len(every) // part))]


def draw_few(points: Sequence[Point], chance: Random, number: int) -> list[Point]:
    """For a sample: some of the points, every other one where something becomes lasting."""
    boundaries = [point for point in points if point.is_boundary]
    statements = [point for point in points if not point.is_boundary]
    half = min(-(-number // 2), len(boundaries))
    return sorted(chance.sample(boundaries, half) + chance.sample(statements, number - half))


def most_passed_by(tried: Sequence[Point]) -> int:
    """How many of so few may be passed by: a handful of racing loops is no verdict on the harness."""
    return max(PASSED_BY_FEW, math.ceil(PASSED_BY_MAX * len(tried)))


def count_all(points: Sequence[Point], *, share: int = 0) -> dict[str, int]:
    """What there is to try; the first share tells it for all."""
    return {} if share else {"places": len(by_place(points)), "points": len(points)}


def expect_kept(found: Sequence[Verdict], tried: Sequence[Point], tally: Counter[str]) -> None:
    """Raises AssertionError where a promise was broken, or too many points were not met again."""
    assert not found, report(found)
    assert tally["passed by"] <= most_passed_by(tried)


def report(found: Sequence[Verdict]) -> str:
    return "\n".join(str(verdict) for verdict in found)
