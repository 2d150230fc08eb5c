"""Waiting in tests: it ends when nothing moves, and not because it takes long."""

from __future__ import annotations

import pytest

from tests.support.patience import until

MOMENT_S = 0.01


async def test_work_that_goes_on_is_waited_for() -> None:
    looks = 0

    async def moves() -> int:
        nonlocal looks
        looks += 1
        return looks

    await until(lambda: looks == 5, deadline_s=MOMENT_S, pause_s=MOMENT_S / 10, moves=moves)


async def test_work_that_stands_still_is_not() -> None:
    with pytest.raises(TimeoutError, match=r"in vain for the end, and nothing moved \(7 left\)"):
        await until(lambda: False, "the end", deadline_s=MOMENT_S, moves=lambda: "7 left")


async def test_a_condition_of_its_own_kind_is_waited_for_once() -> None:
    with pytest.raises(TimeoutError, match=r"in vain for the condition$"):
        await until(lambda: False, deadline_s=MOMENT_S)


async def test_a_time_out_inside_the_condition_is_the_conditions() -> None:
    async def fails() -> bool:
        raise TimeoutError("the database does not answer")

    with pytest.raises(TimeoutError, match="the database does not answer"):
        await until(fails, deadline_s=60.0)
