"""How much a source takes from senders that nobody has proven yet: without a bound they could fill the disk.

Source: docs/routing.md, "Senders that are proven later".
"""

from __future__ import annotations

from hub.inbox.received import OverloadedError
from hub.routing.sources import UnprovenConfig

MINUTE_S = 60.0


class TooManyUnprovenError(OverloadedError):
    """A source has taken as much from unproven senders as it may; come again after ``delay_s`` seconds."""


class Allowance:
    """So many messages and so many bytes a minute, with room for a minute's worth at once."""

    def __init__(self, config: UnprovenConfig) -> None:
        self._messages = _Bucket(config.per_minute)
        self._bytes = _Bucket(config.bytes_per_minute)

    def take(self, body_bytes: int, now_s: float) -> None:
        """Count one message. Raises TooManyUnprovenError, and then nothing is counted.

        ``now_s`` is of a clock that never goes back.
        """
        wait_s = max(self._messages.wait_s(1, now_s), self._bytes.wait_s(body_bytes, now_s))
        if wait_s > 0:
            raise TooManyUnprovenError("too much from senders that are not proven", delay_s=wait_s)
        self._messages.level -= 1
        self._bytes.level -= body_bytes


class _Bucket:
    def __init__(self, per_minute: int) -> None:
        self._most = float(per_minute)
        self._filled_at: float | None = None
        self.level = self._most

    def wait_s(self, amount: int, now_s: float) -> float:
        """How long until this much is there. More than a whole minute's worth is taken from a full one."""
        if self._filled_at is not None:
            passed_s = max(0.0, now_s - self._filled_at)
            self.level = min(self._most, self.level + self._most * passed_s / MINUTE_S)
        self._filled_at = now_s
        missing = min(float(amount), self._most) - self.level
        return max(0.0, missing * MINUTE_S / self._most)
