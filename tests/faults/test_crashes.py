"""Cut off at any point and started again, the hub ends as if nothing had happened."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import product
from random import Random

import pytest

from tests.faults.conftest import IS_EVERYTHING, POINTS
from tests.faults.life import Lives, LivesHere
from tests.faults.nursery import nursery
from tests.faults.places import expect_no_fewer
from tests.faults.scenarios import SCENARIOS
from tests.faults.seams import Point
from tests.faults.stage import Stage
from tests.faults.trial import Verdict, clean_run, trial
from tests.support.databases import DIALECTS

SHARES = 4 if IS_EVERYTHING else 1
"""Parts of the points of one scenario, so that processes can share the work."""
RUNS = 2 if IS_EVERYTHING else 1
"""Runs without a crash that must all meet a point: what only one of them meets is passed by more often."""
SAMPLE = 2
"""Points at which a real process is killed when not all are: as many boundaries as statements."""
PART = {"sqlite": 12, "postgresql": 48}
"""When not all are tried: one place in so many. Both databases run the same code, and PostgreSQL takes its time."""
KILLED_ON = list(product(SCENARIOS, DIALECTS) if IS_EVERYTHING else zip(SCENARIOS, DIALECTS, strict=True))
"""Scenario and database; a sample takes each of either once, since what kills takes its time to load."""
KILLED_PART = 4
"""Of the places where a hub is cut off in the long run, one in so many is also where a process is killed."""
TRIES_MAX = 2
"""A run may take another way around a point, where two loops race; then it is tried again."""
PASSED_BY_MAX = 0.1
"""The part of the points that may not be met again, whatever is tried: more, and the harness misses what it aims at."""
PASSED_BY_FEW = 4
HALF_AN_HOUR_S, TWO_HOURS_S = 1_800, 7_200
_KNOWN: dict[tuple[str, str, bool], list[Point]] = {}
"""The points of each story. The samples of one process draw from one run: it takes longer than what they try."""

pytestmark = [
    # Connections are closed under the hub's feet here.
    pytest.mark.filterwarnings("ignore:The garbage collector is trying to clean up"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.mark.timeout(HALF_AN_HOUR_S)
@pytest.mark.parametrize("share", range(SHARES))
async def test_a_hub_that_dies_at_any_point_loses_and_doubles_nothing(
    stage: Stage, share: int, chance: Random, is_everything: bool, tally: Counter[str]
) -> None:
    points = await points_of(stage, with_opening=is_everything)
    chosen = thinned(points, chance) if is_everything else one_of_each_place(points, chance, part=PART[stage.dialect])
    chosen = chosen[share::SHARES]

    found = await try_all(stage, LivesHere(), chosen, tally)

    tally.update({"points": len(points[share::SHARES]), "raised": len(chosen) - tally["passed by"]})
    assert not found, report(found)
    assert tally["passed by"] <= most_passed_by(chosen)


@pytest.mark.timeout(TWO_HOURS_S)
@pytest.mark.parametrize(("stage", "dialect"), KILLED_ON, indirect=True)
async def test_a_hub_that_is_killed_loses_and_doubles_nothing(
    stage: Stage, chance: Random, is_everything: bool, tally: Counter[str]
) -> None:
    points = await points_of(stage, with_opening=is_everything)
    chosen = thinned(points, chance, part=KILLED_PART) if is_everything else sample(points, chance)

    async with nursery() as apart:
        found = await try_all(stage, apart, chosen, tally)

    tally.update({"killed": len(chosen) - tally["passed by"]})
    assert not found, report(found)
    assert tally["passed by"] <= most_passed_by(chosen)


async def points_of(stage: Stage, *, with_opening: bool) -> list[Point]:
    """Every point that all runs without a crash meet, in an order that is the same each time."""
    story = (stage.scenario.name, stage.dialect, with_opening)
    if IS_EVERYTHING or story not in _KNOWN:
        _KNOWN[story] = await _met_by(stage, with_opening=with_opening)
    return _KNOWN[story]


async def _met_by(stage: Stage, *, with_opening: bool) -> list[Point]:
    clean = [await clean_run(stage, LivesHere()) for _ in range(RUNS)]
    for verdict, _, _ in clean:
        assert not verdict.violations, report([verdict])
    expect_no_fewer(stage.scenario.name, stage.dialect, {point.place for _, points, _ in clean for point in points})
    met = [set(points if with_opening else points[opened:]) for _, points, opened in clean]
    return sorted(set.intersection(*met))


async def try_all(stage: Stage, lives: Lives, points: Iterable[Point], tally: Counter[str]) -> list[Verdict]:
    """Try each point, and return the verdicts that found something."""
    found = []
    for point in points:
        verdict = await reached(stage, lives, point)
        tally["passed by"] += not verdict.was_reached
        tally.update({"events": verdict.events, "violations": len(verdict.violations)})
        if verdict.violations:
            found.append(verdict)
    return found


async def reached(stage: Stage, lives: Lives, point: Point) -> Verdict:
    for _ in range(TRIES_MAX):
        verdict = await trial(stage, lives, point)
        if verdict.was_reached or verdict.violations:
            break
    return verdict


def one_of_each_place(points: Sequence[Point], chance: Random, *, part: int) -> list[Point]:
    """Every place, or one in so many, each at one of the times that it is reached."""
    by_place: dict[str, list[Point]] = {}
    for point in points:
        by_place.setdefault(point.place, []).append(point)
    places = chance.sample(list(by_place.values()), -(-len(by_place) // part))
    return [chance.choice(times) for times in places]


def thinned(points: Sequence[Point], chance: Random, *, part: int = 1) -> list[Point]:
    """For the long run: every point where HUB_TEST_POINTS asks for it, else each place, or one in so many, once."""
    return list(points) if POINTS == "every" else sorted(one_of_each_place(points, chance, part=part))


def most_passed_by(chosen: Sequence[Point]) -> int:
    """How many of so few may be passed by: a handful of racing loops is no verdict on the harness."""
    return max(PASSED_BY_FEW, math.ceil(PASSED_BY_MAX * len(chosen)))


def sample(points: Sequence[Point], chance: Random) -> list[Point]:
    boundaries = [point for point in points if point.is_boundary]
    statements = [point for point in points if not point.is_boundary]
    half = SAMPLE // 2
    return sorted(chance.sample(boundaries, min(half, len(boundaries))) + chance.sample(statements, half))


def report(found: Sequence[Verdict]) -> str:
    return "\n".join(str(verdict) for verdict in found)
