"""A clock that a test sets."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hub.clock import SystemClock
from hub.event import uuid7

START = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)


class SettableClock:
    """Time stands still until a test moves it; ids follow it, and back-off is exact (no jitter)."""

    def __init__(self, start: datetime = START) -> None:
        self._now = start
        self._monotonic_s = 1_000.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic_s

    def new_id(self) -> UUID:
        return uuid7(self._now.timestamp())

    def jitter(self) -> float:
        return 1.0

    def advance(self, seconds: float) -> None:
        """Let this much time pass."""
        self._now += timedelta(seconds=seconds)
        self._monotonic_s += seconds

    def set(self, now: datetime) -> None:
        """Make it this time of day, also an earlier one; the monotonic clock does not move."""
        self._now = now


class FastClock(SystemClock):
    """The machine's clock, ``speed`` times as fast since ``started_s`` (epoch seconds): for processes that share it."""

    def __init__(self, speed: float, started_s: float) -> None:
        self.speed = speed
        self.started_s = started_s

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.started_s + (time.time() - self.started_s) * self.speed, UTC)

    def monotonic(self) -> float:
        return time.monotonic() * self.speed
