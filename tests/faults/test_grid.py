"""What the long run tries: shares make up the whole, and each place is tried once."""

from __future__ import annotations

import pytest

from tests.faults import grid
from tests.faults.places import STORIES
from tests.faults.seams import Point
from tests.support.databases import DIALECTS

POINTS = [Point(f"statement: {name}", number) for name in "abcdefghijklmnop" for number in range(1, 6)]


@pytest.fixture(autouse=True)
def _not_every_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "POINTS", "some")


def test_the_shares_try_each_place_once() -> None:
    shares = [grid.chosen(POINTS, share=share, shares=2) for share in range(2)]

    assert all(shares)
    assert sorted(point.place for share in shares for point in share) == sorted({point.place for point in POINTS})
    assert sorted(shares[0] + shares[1]) == sorted(grid.chosen(POINTS))


def test_a_share_that_meets_other_points_draws_the_same_places() -> None:
    less = [point for point in POINTS if not point.place.endswith("c")]

    places = [[point.place for point in grid.chosen(points, share=1, shares=2)] for points in (POINTS, less)]

    assert [place for place in places[0] if not place.endswith("c")] == places[1]


def test_a_point_that_is_passed_by_is_looked_for_at_the_first_time_of_its_place() -> None:
    assert grid.aims_at(Point("a commit", 5)) == [Point("a commit", 5), Point("a commit", 1)]


def test_two_seeds_have_each_story_on_both_databases(monkeypatch: pytest.MonkeyPatch) -> None:
    found: set[tuple[str, str]] = set()
    for seed in (7, 8):
        monkeypatch.setattr(grid, "SEED", seed)
        found.update(grid.assign_databases(STORIES))

    assert found == {(story, dialect) for story in STORIES for dialect in DIALECTS}
