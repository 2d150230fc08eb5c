"""When a running hub renews itself: at the instants of ``HUB_REFRESH``, or as soon as it is told to.

A refresh is a stop in order and a start in the same process: nothing new is taken, calls in flight end, the connections
to the database and the broker are closed and opened anew, what fell due meanwhile is caught up. A stop on SIGTERM is
the same without the start.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim

from hub.clock import Clock
from hub.settings import Settings
from hub.signal import is_set_within

LOOK_S_MAX = 30.0
"""The clock of the machine may be set: the way to an instant is gone in steps."""


class Refresh:
    """Is ``due`` at the next instant, or when ``now`` is called; ``again`` begins the wait for the one after."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self.due = asyncio.Event()

    def now(self) -> None:
        """Refresh as soon as possible."""
        self.due.set()

    def again(self) -> None:
        """The refresh is done."""
        self.due.clear()

    async def wait(self) -> None:
        """Until a refresh is due."""
        instant = next_refresh(self._settings, self._clock.now())
        while instant is not None and (left_s := (instant - self._clock.now()).total_seconds()) > 0:
            if await is_set_within(self.due, min(left_s, LOOK_S_MAX)):
                return
        if instant is None:
            await self.due.wait()
        self.due.set()


def next_refresh(settings: Settings, after: datetime) -> datetime | None:
    """The first instant of ``HUB_REFRESH`` after this one; None where it is never."""
    if not settings.refresh:
        return None
    return next(CronSim(settings.refresh, after.astimezone(ZoneInfo(settings.refresh_zone))))
