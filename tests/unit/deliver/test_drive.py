"""Driving a handler: it ends in its time, is told to end, or is left behind; it never runs on by itself."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from hub.deliver import drive as driving
from hub.deliver.drive import HandlerLateError, HandlerStuckError, drive


@pytest.fixture(autouse=True)
def long_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a handler ends by itself, a slow machine must not make it one that does not."""
    monkeypatch.setattr(driving, "GRACE_S", 60.0)


async def test_the_result_is_the_handlers() -> None:
    async def handler() -> str:
        await asyncio.sleep(0)
        return "done"

    assert await drive(handler(), 1.0) == "done"


async def test_its_errors_are_its_own_even_a_time_out() -> None:
    async def handler() -> None:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(1)

    with pytest.raises(TimeoutError) as raised:
        await drive(handler(), 5.0)
    assert not isinstance(raised.value, HandlerLateError)


async def test_one_that_hangs_is_told_to_end_and_may_clean_up() -> None:
    cleaned: list[list[int]] = []
    told: list[int] = []

    async def handler() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            cleaned.append(list(told))

    with pytest.raises(HandlerLateError, match=r"within 0\.02 s"):
        await drive(handler(), 0.02, on_late=lambda: told.append(1))
    assert cleaned == [[1]], "told before it was cancelled, once"


async def test_one_that_returns_after_it_was_told_to_end_is_late() -> None:
    async def handler() -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        return "done after all"

    with pytest.raises(HandlerLateError):
        await drive(handler(), 0.02)


async def test_one_that_raises_something_else_when_it_is_told_to_end_is_late() -> None:
    async def handler() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError as error:
            raise RuntimeError("while cleaning up") from error

    with pytest.raises(HandlerLateError):
        await drive(handler(), 0.02)


async def test_one_that_goes_on_is_left_behind_and_never_runs_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driving, "GRACE_S", 0.05)
    steps: list[int] = []

    async def handler() -> None:
        while len(steps) < 1_000:
            try:
                await asyncio.sleep(0.005)
            except asyncio.CancelledError:
                continue
            steps.append(1)

    with pytest.raises(HandlerStuckError):
        await drive(handler(), 0.02)
    so_far = len(steps)
    await asyncio.sleep(0.05)
    assert len(steps) == so_far


async def test_when_the_process_stops_the_handler_hears_it_as_a_cancellation() -> None:
    heard = []

    async def handler() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            heard.append(1)
            raise

    task = asyncio.create_task(drive(handler(), 5.0))
    await asyncio.sleep(0.01)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert heard == [1]
    assert task.cancelled()


async def test_a_cancellation_that_a_library_raises_uninvited_is_passed_on() -> None:
    async def handler() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await drive(handler(), 1.0)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
