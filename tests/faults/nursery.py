"""Lives in processes of their own, which end by SIGKILL: nothing is simulated."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from tests.faults.seams import Point
from tests.support.running import PROJECT

KILLED = -signal.SIGKILL


class Nursery:
    """Speaks with ``tests/faults/child.py``. One hub lives at a time."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def new(self, point: Point | None, *, is_quiet: bool) -> LifeApart:
        """A life in a process of its own; it is quiet exactly when it has a point to reach."""
        assert is_quiet == (point is not None)
        return LifeApart(self._process, point)


@asynccontextmanager
async def nursery() -> AsyncIterator[Nursery]:
    """Start it, and in the end close it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.child", stdin=PIPE, stdout=PIPE, cwd=PROJECT
    )
    try:
        yield Nursery(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


class LifeApart:
    """A hub in a process of its own."""

    def __init__(self, nursery_process: Process, point: Point | None) -> None:
        self.url: str | None = None
        self._process = nursery_process
        self._point = point
        self._pid = 0
        self._ended: int | None = None
        self._born = asyncio.Event()
        self._listens = asyncio.Event()
        self._hearing: asyncio.Task[None] | None = None

    @property
    def has_struck(self) -> bool:
        if self._ended is None:
            return False
        assert self._ended == KILLED, f"the hub ended by itself with code {self._ended}"
        return True

    async def begin(self, environ: Mapping[str, str]) -> None:
        place, occurrence = (self._point.place, self._point.occurrence) if self._point else (None, 0)
        order = json.dumps({"environ": dict(environ), "place": place, "occurrence": occurrence})
        assert self._process.stdin is not None
        self._process.stdin.write(order.encode() + b"\n")
        self._hearing = asyncio.create_task(self._hear())
        await self._listens.wait()

    async def die(self) -> None:
        if self._hearing is None:
            return
        await self._born.wait()
        if self._ended is None and self._pid:
            os.kill(self._pid, signal.SIGKILL)
        await self._hearing

    async def _hear(self) -> None:
        assert self._process.stdout is not None
        try:
            while self._ended is None:
                line = await self._process.stdout.readline()
                assert line, "the nursery is gone"
                told = json.loads(line)
                if "pid" in told:
                    self._pid = told["pid"]
                    self._born.set()
                self._ended = told.get("ended")
                if "url" in told:
                    self.url = told["url"]
                    self._listens.set()
        finally:
            self._born.set()
            self._listens.set()
