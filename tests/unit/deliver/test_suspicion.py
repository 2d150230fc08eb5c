"""Suspects run with their attempts counted, in the order of their chains; those that cannot run cost nothing."""

from __future__ import annotations

from hub.deliver.suspicion import Suspicion
from hub.deliver.work import Work
from tests.unit.deliver.test_endings import a_work

LANE, OTHER_LANE = 1, 2


def works(*ids: int, chain: int, attempts: int = 0) -> list[Work]:
    return [a_work(id=one, lane=LANE, chain=chain, attempts=attempts) for one in ids]


def numbers(found: list[Work]) -> list[int]:
    return [one.id for one in found]


def test_what_nobody_suspects_runs_first_where_it_stands_before_and_else_beside_suspects() -> None:
    suspicion = Suspicion({2: LANE, 3: LANE, 5: LANE})
    picked = [*works(1, 2, chain=1), *works(3, 4, chain=2), *works(5, 6, chain=3)]

    assert numbers(suspicion.chosen(picked, frozenset())) == [1]
    assert numbers(suspicion.together(picked)) == [3, 5]
    suspicion.forget([3, 5])
    assert [(one.id, one.attempts) for one in suspicion.chosen(picked, frozenset({3, 5}))] == [(3, -1), (5, -1)]
    assert numbers(suspicion.chosen(picked, frozenset())) == [1, 3, 4, 5, 6]


def test_one_that_was_tried_before_runs_alone_after_the_fresh_ones() -> None:
    suspicion = Suspicion(dict.fromkeys((1, 2, 3, 4), LANE))
    tried, fresh = works(1, 2, chain=1, attempts=1), works(3, 4, chain=2)

    assert numbers(suspicion.together([*tried, *fresh])) == [3, 4]
    assert numbers(suspicion.together(tried)) == [1]


def test_suspects_are_looked_for_only_where_the_last_look_has_met_some() -> None:
    suspicion = Suspicion({1: LANE})
    lanes = [LANE, OTHER_LANE]

    # One that waits behind something, or whose route stands still, is never picked.
    suspicion.saw(lanes, suspicion.met_among(works(7, chain=7)))
    assert not suspicion.is_up_in(lanes)

    suspicion.saw(lanes, suspicion.met_among(works(1, chain=1)))
    assert suspicion.is_up_in(lanes)
    suspicion.saw([OTHER_LANE], frozenset())
    assert suspicion.is_up_in([LANE])
    assert not suspicion.is_up_in([OTHER_LANE])
