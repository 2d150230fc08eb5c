"""The loops of a process: tasks that run for as long as it does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

import structlog

from hub.capability import CheckResult
from hub.store.words import words_for_logs

CANCEL_S_MAX = 2.0
"""How long loops that were cancelled have to end."""

log = structlog.get_logger(__name__)


class Loops:
    """What runs until ``stopping`` is set; ``failed`` is, when one of them has ended before that."""

    def __init__(self, stopping: asyncio.Event) -> None:
        self.failed = asyncio.Event()
        self._stopping = stopping
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def spawn(self, name: str, loop: Coroutine[Any, Any, None], *, until: asyncio.Event | None = None) -> None:
        """Run a loop, which ends with the process or, where ``until`` is given, once that is set."""
        task = asyncio.create_task(loop, name=name)
        self._tasks[name] = task
        task.add_done_callback(partial(self._ended, until or self._stopping))

    def spawn_next(self, name: str, loop: Callable[[], Awaitable[None]], *, until: asyncio.Event) -> None:
        """Run a loop once its predecessor of the same name has ended."""
        self.spawn(name, _after(self._tasks.get(name), loop), until=until)

    def _ended(self, until: asyncio.Event, task: asyncio.Task[None]) -> None:
        if task.cancelled() or self._stopping.is_set():
            return
        error = task.exception()
        if error is None and until.is_set():
            if self._tasks.get(task.get_name()) is task:
                del self._tasks[task.get_name()]
            return
        log.error("loop_ended", loop=task.get_name(), error=words_for_logs(error) if error else "", exc_info=error)
        # A hub without one of its loops only looks alive: the process ends, and its supervisor starts a new one.
        self.failed.set()

    def check(self) -> CheckResult:
        """Whether all of them run."""
        dead = sorted(name for name, task in self._tasks.items() if task.done())
        return CheckResult("loops", not dead, f"ended: {', '.join(dead)}" if dead else "running")

    async def end(self, deadline_s: float) -> None:
        """Wait for loops that have been told to stop; one that has not ended by the deadline is cancelled."""
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=deadline_s)
        for task in self._tasks.values():
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=CANCEL_S_MAX)


async def _after(former: asyncio.Task[None] | None, loop: Callable[[], Awaitable[None]]) -> None:
    if former is not None:
        await asyncio.wait({former})
    await loop()
