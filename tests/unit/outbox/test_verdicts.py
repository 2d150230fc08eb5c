"""From the broker's answers to what is written, without a database."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.outbox.marks import Block, Failure
from hub.outbox.picker import Head, Picked
from hub.outbox.verdicts import backoff_s, judge, word_for
from hub.transports.base import HELD_BACK, Confirmed, NotConfirmed, PublishResult, Unroutable
from tests.support.clock import SettableClock

BUSY = NotConfirmed("busy")


class HastyClock(SettableClock):
    """Its jitter halves every pause, so that a pause without any is noticed."""

    def jitter(self) -> float:
        return 0.5


CLOCK = HastyClock()


def head(seq: int, chain: int = 7, attempts: int = 0) -> Head:
    return Head(seq, chain, 3, "out", attempts, 10)


def in_s(seconds: float) -> object:
    return CLOCK.now() + timedelta(seconds=seconds)


results = st.sampled_from([Confirmed(), BUSY, Unroutable("nobody takes it"), HELD_BACK])


@given(st.lists(st.tuples(st.integers(1, 3), results), max_size=12), st.booleans())
def test_of_each_chain_all_up_to_the_first_that_did_not_go_is_sent(
    answers: list[tuple[int, PublishResult]], is_due: bool
) -> None:
    heads = [head(seq, chain) for seq, (chain, _) in enumerate(answers)]
    picked = Picked(heads=heads, due={1, 2, 3} if is_due else set())

    marks = judge(picked, {seq: result for seq, (_, result) in enumerate(answers)}, CLOCK)

    for chain in (1, 2, 3):
        own = [(seq, result) for seq, (of, result) in enumerate(answers) if of == chain]
        went = [seq for seq, result in own if isinstance(result, Confirmed)]
        stopped = next((place for place, (_, result) in enumerate(own) if not isinstance(result, Confirmed)), None)
        in_time = went if stopped is None else [seq for seq, _ in own[:stopped]]
        assert [seq for seq in marks.sent if answers[seq][0] == chain] == in_time
        assert (chain in marks.released) == (is_due and stopped is None and bool(own))
        failed = [failure for failure in marks.failures if failure.head.chain == chain]
        behind = [one.seq for one in marks.waiting if one.chain == chain]
        if stopped is None or own[stopped][1] == HELD_BACK:
            assert (failed, behind) == ([], [])
        else:
            assert [failure.head.seq for failure in failed] == [own[stopped][0]]
            assert behind == [seq for seq, _ in own[stopped + 1 :]]


def test_what_is_refused_is_tried_again_after_a_pause_that_grows_with_its_attempts() -> None:
    marks = judge(Picked(heads=[head(1, attempts=2)]), {1: BUSY}, CLOCK)

    block = Block(7, 3, "backoff", CLOCK.now() + timedelta(seconds=2.0 * 0.5))
    assert marks.failures == [Failure(head(1, attempts=2), "busy", block)]


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({1: Unroutable("nobody takes it")}, "nobody takes it"),
        ({}, "destination 'out' is not in routing.yaml"),
    ],
)
def test_what_nobody_can_take_is_parked_with_the_reason(answers: dict[int, PublishResult], reason: str) -> None:
    marks = judge(Picked(heads=[head(1)]), answers, CLOCK)

    assert marks.failures == [Failure(head(1), reason, Block(7, 3, "parked", None))]


def test_what_was_met_on_the_way_is_marked_too() -> None:
    picked = Picked(behind=[head(1, 1)], stuck=[head(2, 2)], put_off=[(head(3, 3), 8.0)])

    marks = judge(picked, {}, CLOCK)

    assert marks.waiting == [head(1, 1)]
    assert marks.blocks == [Block(2, 3, "parked", None)]
    assert marks.put_off == {3: in_s(4.0)}
    assert picked.behind == [head(1, 1)]


@pytest.mark.parametrize(
    ("attempts", "seconds"), [(1, 0.5), (2, 1.0), (3, 2.0), (7, 32.0), (8, 60.0), (31, 60.0), (10**9, 60.0)]
)
def test_the_pause_doubles_up_to_its_bound(attempts: int, seconds: float) -> None:
    assert backoff_s(attempts) == seconds


@pytest.mark.parametrize(
    ("result", "word"),
    [
        (None, "undeclared"),
        (Confirmed(), "confirmed"),
        (Unroutable("nobody"), "unroutable"),
        (BUSY, "not_confirmed"),
        (HELD_BACK, None),
    ],
)
def test_the_metric_has_a_word_for_what_became_of_a_message(result: PublishResult | None, word: str | None) -> None:
    assert word_for(result) == word
