"""A rate: so many per second, and so many at once after a quiet time. Arithmetic only, the caller tells the time."""

from __future__ import annotations


class Bucket:
    """Tokens that fill up with time. ``share`` of the rate is this process's; it may change at any moment."""

    def __init__(self, per_second: float, burst: int, *, now_s: float, share: float = 1.0) -> None:
        self._per_second = per_second
        self._burst = burst
        self._share = share
        self._tokens = self._most
        self._at_s = now_s

    @property
    def _most(self) -> float:
        return max(1.0, self._burst * self._share)

    @property
    def per_second(self) -> float:
        """What this process may use of the rate."""
        return self._per_second * self._share

    def set_share(self, share: float, *, now_s: float) -> None:
        """From now on this part of the rate is ours."""
        self._fill(now_s)
        self._share = share
        self._tokens = min(self._tokens, self._most)

    def available(self, now_s: float) -> int:
        """How many may go at this moment."""
        self._fill(now_s)
        return int(self._tokens)

    def take(self, count: int = 1, *, now_s: float) -> None:
        """So many go; they were available."""
        self._fill(now_s)
        self._tokens -= count

    def wait_s(self, now_s: float, count: int = 1) -> float:
        """Seconds until so many may go; zero when they may go now."""
        self._fill(now_s)
        return max(0.0, (count - self._tokens) / self.per_second)

    def worth(self, seconds: float) -> int:
        """How many come in this time: at least one, and no more than half of what it holds, or late looks lose some."""
        return max(1, min(int(self.per_second * seconds), int(self._most / 2)))

    def _fill(self, now_s: float) -> None:
        # A clock that stands or goes back fills nothing.
        passed_s = max(0.0, now_s - self._at_s)
        self._at_s = now_s
        self._tokens = min(self._most, self._tokens + passed_s * self.per_second)
