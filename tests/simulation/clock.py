"""The time of a run is that of its loop; ids and chance come from the seed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final
from uuid import UUID

from tests.simulation.loop import VirtualLoop

START: Final = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)


class VirtualClock:
    """``skew_s`` is how far the wall clock of the hub's machine is wrong; the world's own clock never is."""

    def __init__(self, loop: VirtualLoop, random: Random) -> None:
        self._loop = loop
        self._random = random
        self.skew_s = 0.0

    @property
    def world_now(self) -> datetime:
        """The true time."""
        return START + timedelta(seconds=self._loop.now_s)

    @property
    def world_s(self) -> float:
        """The same in seconds since 1970."""
        return self.world_now.timestamp()

    def now(self) -> datetime:
        return self.world_now + timedelta(seconds=self.skew_s)

    def monotonic(self) -> float:
        return self._loop.now_s

    def new_id(self) -> UUID:
        number = int(self.now().timestamp() * 1000) << 80 | self._random.getrandbits(80)
        return UUID(int=number & ~(0xF << 76) & ~(0b11 << 62) | 0x7 << 76 | 0b10 << 62)

    def jump(self, seconds: float) -> None:
        """Time has passed, and nobody was awake: whatever was due meanwhile is due now."""
        self._loop.jump(seconds)

    def jitter(self) -> float:
        return self._random.uniform(0.5, 1.0)

    def random_bytes(self, count: int) -> bytes:
        """For ids that are made without a clock."""
        return self._random.randbytes(count)
