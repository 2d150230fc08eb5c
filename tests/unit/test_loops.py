"""A loop that ends before its time takes the process with it; one that is to end may."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from hub.loops import Loops


@pytest.fixture
def stopping() -> asyncio.Event:
    """Set when the process stops."""
    return asyncio.Event()


@pytest.fixture
def loops(stopping: asyncio.Event) -> Loops:
    """Those of a process that runs."""
    return Loops(stopping)


async def _end() -> None:
    """End at once."""


async def _break() -> None:
    raise ValueError("broken")


@pytest.mark.parametrize("loop", [_end, _break])
async def test_a_loop_that_ends_before_its_time_fails_the_process(
    loops: Loops, stopping: asyncio.Event, loop: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    loops.spawn("steady", _until(stopping))
    assert loops.check().ok

    loops.spawn("brief", loop())

    async with asyncio.timeout(5):
        await loops.failed.wait()
    assert not loops.check().ok
    assert loops.check().detail == "ended: brief"
    stopping.set()
    await loops.end(5)


async def test_loops_end_with_the_process(loops: Loops, stopping: asyncio.Event) -> None:
    loops.spawn("steady", _until(stopping))

    stopping.set()
    await loops.end(5)

    assert not loops.failed.is_set()


async def test_a_loop_that_does_not_end_is_cancelled(loops: Loops, stopping: asyncio.Event) -> None:
    never = asyncio.create_task(_until(asyncio.Event()))
    loops.spawn("deaf", _wait_for(never))

    stopping.set()
    await loops.end(0)

    assert never.cancelled()
    assert not loops.failed.is_set()


async def test_a_loop_may_end_before_the_process_and_another_of_its_name_follows_it(
    loops: Loops, stopping: asyncio.Event
) -> None:
    one, other, has_ended, has_begun = (asyncio.Event() for _ in range(4))

    async def first() -> None:
        await one.wait()
        await asyncio.sleep(0)
        has_ended.set()

    async def second() -> None:
        assert has_ended.is_set(), "two run at a time"
        has_begun.set()
        await other.wait()

    loops.spawn_next("reader", first, until=one)
    loops.spawn_next("reader", second, until=other)
    one.set()
    async with asyncio.timeout(5):
        await has_begun.wait()

    assert loops.check().ok
    readers = [task for task in asyncio.all_tasks() if task.get_name() == "reader"]
    other.set()
    await asyncio.wait(readers, timeout=5)
    assert loops.check().detail == "running"
    assert not loops.failed.is_set()


async def _until(event: asyncio.Event) -> None:
    await event.wait()


async def _wait_for(task: asyncio.Task[None]) -> None:
    await task
