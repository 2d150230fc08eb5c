"""The arithmetic of flow control: buckets, circuits, shares, and which lane is looked at first."""

from __future__ import annotations

import asyncio

from hub.flow.bucket import Bucket
from hub.flow.circuit import Circuit
from hub.flow.priority import Priority, room_for
from hub.signal import LaneSignal


def test_a_bucket_lets_its_burst_go_and_then_its_rate() -> None:
    bucket = Bucket(10, 3, now_s=0.0)

    assert bucket.available(0.0) == 3
    bucket.take(3, now_s=0.0)
    assert (bucket.available(0.05), bucket.wait_s(0.05)) == (0, 0.05)
    assert bucket.available(0.1001) == 1
    assert bucket.available(60.0) == 3, "it does not save more than its burst"


def test_a_bucket_that_is_shared_out_gives_its_part_and_a_slow_one_still_gives_something() -> None:
    bucket = Bucket(1, 1, now_s=0.0, share=0.25)
    bucket.take(now_s=0.0)

    assert bucket.wait_s(0.0) == 4.0
    bucket.set_share(1.0, now_s=2.0)
    assert bucket.wait_s(2.0) == 0.5
    assert bucket.available(1.0) == 0, "a clock that goes back fills nothing"


def test_a_bucket_says_how_many_are_worth_a_look_and_never_so_many_that_a_late_look_loses_some() -> None:
    fast, small, slow = Bucket(100, 40, now_s=0.0), Bucket(100, 6, now_s=0.0), Bucket(2, 1, now_s=0.0)

    assert [one.worth(0.1) for one in (fast, small, slow)] == [10, 3, 1]
    fast.take(40, now_s=0.0)
    assert fast.wait_s(0.0, 10) == 0.1


def test_a_circuit_counts_failures_among_the_last_ones_only() -> None:
    in_a_row, of_four = Circuit(3, 3), Circuit(2, 4)

    assert [in_a_row.saw(failure=one) for one in (True, True, False, True, True, True)] == [False] * 5 + [True]
    assert [of_four.saw(failure=one) for one in (True, False, False, False, True, True)] == [False] * 5 + [True]


def test_what_goes_first_may_fill_a_provider_and_what_goes_last_always_has_a_place() -> None:
    assert [room_for(8, one) for one in Priority] == [8, 6, 4, 2]
    assert [room_for(1, one) for one in Priority] == [1, 1, 1, 1]


def test_lanes_with_something_new_go_first_and_those_that_return_keep_a_share() -> None:
    signal = LaneSignal()
    signal.again(range(200))
    signal.add([250])

    assert signal.take(64) == [250, *range(63)]

    signal.add(range(100, 240))
    assert signal.take(8) == [100, 101, 102, 103, 104, 105, 63, 64]
    assert signal.take(1) == [106]
    while signal.take(64):
        pass
    assert not signal


async def test_who_was_woken_looks_up_although_the_lanes_have_been_taken_meanwhile() -> None:
    signal = LaneSignal()
    signal.add([1])
    signal.wake()
    signal.take(64)

    async with asyncio.timeout(60):
        await signal.wait(3_600)

    assert not signal._event.is_set(), "and the next wait is one"
