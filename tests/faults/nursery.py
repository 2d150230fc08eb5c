"""Lives in processes of their own, which end by SIGKILL: nothing is simulated."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal

from tests.faults.seams import Point
from tests.support.running import PROJECT

KILLED = -signal.SIGKILL
LIFE_S_MAX = 600
"""No hub of a trial outlives its test by more than this."""
BORN_S_MAX = 240.0
ENDED_S_MAX = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a hub is to be like. ``place`` and ``occurrence``: the point at which it dies, or fails and ``lives_on``."""

    scene: Literal["embedded", "rabbit", "plain"] = "embedded"
    place: str | None = None
    occurrence: int = 0
    lives_on: bool = False
    is_quiet: bool = False
    points_file: str = ""
    """Where it writes the points that it has reached, when it stops in order."""
    life_s_max: int = LIFE_S_MAX
    speed: float = 1.0
    """How fast its clock runs since ``started_s``, epoch seconds (``FastClock``)."""
    started_s: float = 0.0


class Nursery:
    """Speaks with ``tests/faults/child.py``."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._lives: dict[int, LifeApart] = {}
        self._numbers = count(1)
        self._hearing = asyncio.create_task(self._hear(), name="nursery")

    def new(self, point: Point | None, *, is_quiet: bool) -> LifeApart:
        """A life in a process of its own; it is quiet exactly when it has a point to reach."""
        assert is_quiet == (point is not None)
        place, occurrence = (point.place, point.occurrence) if point else (None, 0)
        return self.life(Order(place=place, occurrence=occurrence))

    def life(self, order: Order) -> LifeApart:
        number = next(self._numbers)
        self._lives[number] = made = LifeApart(self._process, number, order)
        return made

    async def close(self) -> None:
        """End every hub that is left, and the nursery itself."""
        for life in list(self._lives.values()):
            await life.die()
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
        await self._hearing

    async def _hear(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            told = json.loads(line)
            life = self._lives[told["life"]]
            life.hear(told)
            if life.ended is not None:
                del self._lives[told["life"]]
        for life in self._lives.values():
            life.hear({"ended": 1})


@asynccontextmanager
async def nursery() -> AsyncIterator[Nursery]:
    """Start it, and in the end close it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.child", stdin=PIPE, stdout=PIPE, cwd=PROJECT
    )
    made = Nursery(process)
    try:
        yield made
    finally:
        await made.close()


class LifeApart:
    """A hub in a process of its own."""

    def __init__(self, nursery_process: Process, number: int, order: Order) -> None:
        self.url: str | None = None
        self.pid = 0
        self.ended: int | None = None
        self.has_slipped = False
        """It has failed at its point, and lives on."""
        self._process = nursery_process
        self._number = number
        self._order = order
        self._was_told_to_stop = False
        self._has_begun = False
        self._changed = asyncio.Event()

    @property
    def has_struck(self) -> bool:
        if self.has_slipped:
            return True
        assert not self.is_odd, f"the hub ended by itself with code {self.ended}"
        return self.ended == KILLED

    @property
    def is_odd(self) -> bool:
        """It has ended, and neither by a kill nor as it was told."""
        return self.ended not in (None, KILLED) and not (self._was_told_to_stop and self.ended == 0)

    async def begin(self, environ: Mapping[str, str]) -> None:
        """Until it listens, or has ended."""
        order: dict[str, Any] = {"life": self._number, "environ": dict(environ), **asdict(self._order)}
        assert self._process.stdin is not None
        self._has_begun = True
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        await self._until(lambda: self.url is not None, BORN_S_MAX)

    async def die(self) -> None:
        """Kill it, if it lives."""
        if not self._has_begun or self.ended is not None:
            return
        await self._until(lambda: bool(self.pid), BORN_S_MAX)
        self.signal(signal.SIGKILL)
        await self._until(lambda: False, ENDED_S_MAX)

    async def stop_in_order(self) -> None:
        """Tell it to stop, and wait for its end."""
        self._was_told_to_stop = True
        self.signal(signal.SIGTERM)
        await self._until(lambda: False, ENDED_S_MAX)

    def points(self) -> tuple[list[Point], list[Point]]:
        """The points that it has reached, once it has stopped in order: while it was opened, and after."""
        told = json.loads(Path(self._order.points_file).read_text())
        opening, rest = ([Point(*one) for one in part] for part in told)
        return opening, rest

    def signal(self, number: signal.Signals) -> None:
        if self.ended is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def hear(self, told: Mapping[str, Any]) -> None:
        """The nursery tells something of this life."""
        self.pid = told.get("pid", self.pid)
        self.url = told.get("url", self.url)
        self.ended = told.get("ended", self.ended)
        self.has_slipped = told.get("struck", self.has_slipped)
        self._changed.set()

    async def _until(self, condition: Any, deadline_s: float) -> None:
        """Until the condition holds, or the hub has ended."""
        async with asyncio.timeout(deadline_s):
            while not condition() and self.ended is None:
                self._changed.clear()
                await self._changed.wait()
