"""Time in a trial: it passes as it does, and flies while a sender waits for something that takes days.

All hubs of a trial, in this process or in one of their own, and whoever is played beside them go by one clock, which
lies in a file. Schedules that a story names come due by it.
"""

from __future__ import annotations

import asyncio
import mmap
import struct
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hub.clock import Clock, SystemClock
from hub.schedule.instants import due_instants
from hub.schedule.scheduler import Scheduler
from tests.faults.books import Books

CLOCK, SCHEDULES = "TRIAL_CLOCK", "TRIAL_SCHEDULES"
"""What a hub of a trial is told: the file, and the names of the schedules that may come due, by commas."""
LOOK_S = 0.05
SCHEDULE_S = 300.0
"""So far it is at most to the next instant of a schedule that matters here."""
AT_WORK = (
    "SELECT (SELECT count(*) FROM deliveries WHERE state IN ('ready', 'calling'))"
    " + (SELECT count(*) FROM outbox WHERE state = 'ready')"
)
NEXT = (
    "SELECT min(at) FROM (SELECT min(due_at) AS at FROM timers UNION ALL SELECT min(next_at) FROM blocked"
    " UNION ALL SELECT min(next_at) FROM deliveries WHERE state = 'deferred') AS instants"
)
IDLE = ("SELECT timers.id", "SELECT schedules.last_at")
"""How an idle scheduler looks, all the time: no places to die at, since nothing has happened since the one before."""
_FORM = struct.Struct("d")


class TrialClock(SystemClock):
    """The machine's clock, and what has been leapt over."""

    def __init__(self, file: Path) -> None:
        with file.open("r+b") as opened:
            self._shared = mmap.mmap(opened.fileno(), _FORM.size)

    @classmethod
    def begun(cls, file: Path) -> TrialClock:
        """A clock that nobody has leapt with yet."""
        file.write_bytes(_FORM.pack(0.0))
        return cls(file)

    @property
    def leapt_s(self) -> float:
        found: float = _FORM.unpack_from(self._shared)[0]
        return found

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.leapt_s)

    def leap(self, seconds: float) -> None:
        """So much time has passed, for everybody."""
        _FORM.pack_into(self._shared, 0, self.leapt_s + seconds)

    async def fly(self, books: Books, open_: str = "") -> None:
        """Until ``open_`` finds nothing any more, or, without it, nothing is left to do: from one instant to the next.

        Never while something is under way: a day that passes meanwhile would be one that a provider did not answer.
        """
        while True:
            if not await self._is_at_work(books):
                [[instant]] = await books.rows(NEXT)
                if not (await books.rows(open_) if open_ else instant is not None):
                    return
                ahead_s = SCHEDULE_S if instant is None else (_when(instant) - self.now()).total_seconds()
                # What is due is the hub's to find.
                self.leap(max(0.0, ahead_s))
            await asyncio.sleep(LOOK_S)

    async def _is_at_work(self, books: Books) -> bool:
        [[number]] = await books.rows(AT_WORK)
        return bool(number)


def _when(value: object) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(str(value))


def clock_for(environ: Mapping[str, str]) -> Clock:
    """The clock of the trial that this hub belongs to."""
    return TrialClock(Path(environ[CLOCK])) if CLOCK in environ else SystemClock()


@contextmanager
def flying(environ: Mapping[str, str]) -> Iterator[None]:
    """Where the trial has a clock of its own: timers and the named schedules come due by it."""
    if CLOCK not in environ:
        yield
        return
    named = frozenset(environ[SCHEDULES].split(","))
    original: Any = Scheduler.fire_schedule

    async def fire_named(self: Scheduler, name: str, config: Any) -> int:
        return int(await original(self, name, config)) if name in named else 0

    with ExitStack() as stack:
        stack.enter_context(patch("hub.schedule.scheduler.due_instants", due_instants))
        stack.enter_context(patch.object(Scheduler, "fire_schedule", fire_named))
        stack.enter_context(patch("hub.app.Scheduler", partial(Scheduler, look_s=LOOK_S)))
        yield
