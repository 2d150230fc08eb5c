"""Time, ids and chance as the hub sees them, in one place so that tests can choose them."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

from hub.event import uuid7


class Clock(Protocol):
    """What time it is. ``now`` is aware UTC and may jump; ``monotonic`` only grows and measures durations."""

    def now(self) -> datetime: ...

    def monotonic(self) -> float: ...

    def new_id(self) -> UUID: ...

    def jitter(self) -> float:
        """A number from 0.5 to 1.0 that spreads retries."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def new_id(self) -> UUID:
        return uuid7()

    def jitter(self) -> float:
        return random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, protects nothing
