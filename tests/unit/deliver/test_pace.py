"""Queues are read no further ahead than a worker that is behind needs, and are never held up by one that hangs."""

from __future__ import annotations

import asyncio

import pytest

from hub.deliver import pace as pace_module
from hub.deliver.pace import AHEAD_MAX, Pace

DEADLINE_S = 30.0


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> Pace:
    """A pace that nothing but its worker lets go."""
    monkeypatch.setattr(pace_module, "WAIT_S_MAX", 2 * DEADLINE_S)
    return Pace()


async def _has_to_wait(pace: Pace, ahead: int) -> bool:
    reader = asyncio.create_task(pace.wait(lambda: ahead))
    await asyncio.sleep(0)
    has_to_wait = not reader.done()
    reader.cancel()
    return has_to_wait


async def test_a_reader_waits_until_a_worker_that_is_behind_has_come_closer(patient: Pace) -> None:
    ahead = AHEAD_MAX + 1
    patient.tell(is_behind=True)
    reader = asyncio.create_task(patient.wait(lambda: ahead))
    await asyncio.sleep(0)

    patient.tell(is_behind=True)
    await asyncio.sleep(0)
    still_waits = not reader.done()
    ahead = AHEAD_MAX - 1
    patient.tell(is_behind=True)

    async with asyncio.timeout(DEADLINE_S):
        await reader
    assert still_waits


async def test_a_reader_does_not_wait_for_a_worker_that_keeps_up_or_has_little_ahead(patient: Pace) -> None:
    assert not await _has_to_wait(patient, AHEAD_MAX)

    patient.tell(is_behind=True)
    assert await _has_to_wait(patient, AHEAD_MAX)
    assert not await _has_to_wait(patient, AHEAD_MAX - 1)

    patient.tell(is_behind=False)
    assert not await _has_to_wait(patient, AHEAD_MAX)


async def test_a_reader_goes_on_as_soon_as_a_batch_has_been_read_and_need_not_wait_for_its_end(patient: Pace) -> None:
    ahead = AHEAD_MAX
    patient.tell(is_behind=True)
    reader = asyncio.create_task(patient.wait(lambda: ahead))
    await asyncio.sleep(0)

    ahead = 0
    patient.took()

    async with asyncio.timeout(DEADLINE_S):
        await reader


async def test_a_worker_that_hangs_holds_no_reader_up_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace_module, "WAIT_S_MAX", 0.0)
    pace = Pace()
    pace.tell(is_behind=True)

    async with asyncio.timeout(DEADLINE_S):
        await pace.wait(lambda: AHEAD_MAX)
