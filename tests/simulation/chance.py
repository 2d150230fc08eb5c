"""Chance by name: what is drawn under a name depends on the seed and the name alone.

So a step that is left out changes nothing about the others, and a failing run can be made smaller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from random import Random
from typing import TypeVar

T = TypeVar("T")
_SPAN = 2**64


@dataclass
class Chance:
    """The draws of one seed."""

    seed: int
    _times: dict[str, int] = field(default_factory=dict)

    def of(self, *name: object) -> float:
        """From 0 up to 1, always the same for this name."""
        text = "\0".join(map(str, (self.seed, *name))).encode()
        return int.from_bytes(blake2b(text, digest_size=8).digest(), "big") / _SPAN

    def again(self, *name: object) -> float:
        """The next draw under this name."""
        key = "\0".join(map(str, name))
        self._times[key] = self._times.get(key, 0) + 1
        return self.of(key, self._times[key])

    def pick(self, among: Sequence[T], *name: object) -> T:
        """One of these."""
        return among[int(self.of(*name) * len(among))]

    def between(self, low: float, high: float, *name: object) -> float:
        """From ``low`` up to ``high``."""
        return low + (high - low) * self.of(*name)

    def random(self, *name: object) -> Random:
        """A generator of its own."""
        return Random("\0".join(map(str, (self.seed, *name))))


@dataclass(frozen=True, slots=True)
class Weather:
    """How bad one run is. Shares are of transmissions, of requests to providers, or of notifications."""

    loss: float
    duplicates: float
    late: float
    late_s_max: float
    provider: float
    notices: float
    kills: int
    disk_full: int
    conflicts: int
    commits: int
    broker: int
    consumers: int
    clock_jumps: int
    contradictions: float

    @classmethod
    def of(cls, chance: Chance) -> Weather:
        """As the seed has it: now and then a kind of fault does not happen at all."""

        def share(name: str, most: float) -> float:
            return 0.0 if chance.of(name, "calm") < 0.2 else chance.between(0.0, most, name)

        def times(name: str, most: int) -> int:
            return round(share(name, most))

        return cls(
            loss=share("loss", 0.3),
            duplicates=share("duplicates", 0.5),
            late=share("late", 0.3),
            late_s_max=chance.between(60.0, 86_400.0, "late_s"),
            provider=share("provider", 0.4),
            notices=share("notices", 0.6),
            kills=times("kills", 3),
            disk_full=times("disk full", 2),
            conflicts=times("serialization", 3),
            commits=times("commits", 3),
            broker=times("broker", 3),
            consumers=times("consumers", 3),
            clock_jumps=times("clock", 2),
            contradictions=share("contradictions", 0.1),
        )
