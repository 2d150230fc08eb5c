"""Rounds that would be small keep a distance; who was idle, or has more to do, waits for nothing."""

from __future__ import annotations

import asyncio

import pytest

from hub import spacing
from hub.spacing import SMALL_MAX, Spacing


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited, without waiting."""
    seconds: list[float] = []

    async def sleep(delay_s: float) -> None:
        seconds.append(delay_s)

    # Long enough that no machine is so slow.
    monkeypatch.setattr(spacing, "SPACE_S", 3_600.0)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    return seconds


async def test_the_first_round_begins_at_once(waits: list[float]) -> None:
    await Spacing().wait()

    assert waits == []


async def test_a_round_waits_behind_a_small_one(waits: list[float]) -> None:
    rounds = Spacing()
    rounds.ended(SMALL_MAX, is_more=False)

    await rounds.wait()

    assert len(waits) == 1


@pytest.mark.parametrize(("done", "is_more"), [(SMALL_MAX + 1, False), (0, True)])
async def test_a_round_begins_at_once_behind_a_large_one_or_where_more_is_left(
    waits: list[float], done: int, is_more: bool
) -> None:
    rounds = Spacing()
    rounds.ended(1, is_more=False)
    rounds.ended(done, is_more=is_more)

    await rounds.wait()

    assert waits == []


async def test_who_was_idle_for_as_long_does_not_wait(monkeypatch: pytest.MonkeyPatch, waits: list[float]) -> None:
    monkeypatch.setattr(spacing, "SPACE_S", 0.0)
    rounds = Spacing()
    rounds.ended(1, is_more=False)

    await rounds.wait()

    assert waits == []
