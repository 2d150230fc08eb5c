"""The loop's time goes on, whatever rests tasks ask for."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final
from unittest.mock import patch

import pytest

from hub.signal import is_set_within
from tests.simulation import loop as module
from tests.simulation.loop import VirtualLoop

LATE_S: Final = 9_612.599999999995
REST_S: Final = 2e-12
"""Shorter than the nanosecond within which a loop takes a timer for due."""


def run(loop: VirtualLoop, main: Coroutine[Any, Any, None]) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(main)
    finally:
        loop.close()
        asyncio.set_event_loop(None)


def test_two_tasks_that_wait_for_less_than_a_loop_can_tell_reach_their_time() -> None:
    loop = VirtualLoop()
    loop.now_s = LATE_S

    async def wait() -> None:
        while loop.time() < LATE_S + REST_S:
            await is_set_within(asyncio.Event(), LATE_S + REST_S - loop.time())

    async def main() -> None:
        first = asyncio.create_task(wait())
        await asyncio.sleep(0)
        await asyncio.gather(first, wait())

    with patch.object(module, "TURNS_MAX", 1_000):
        run(loop, main())

    assert loop.time() >= LATE_S + REST_S


def test_a_run_that_does_not_end_is_told() -> None:
    async def main() -> None:
        while True:  # noqa: ASYNC110 - it is to have no end
            await asyncio.sleep(0)

    with patch.object(module, "TURNS_MAX", 1_000), pytest.raises(RuntimeError, match="no end after 1000 turns"):
        run(VirtualLoop(), main())
