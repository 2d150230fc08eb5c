"""What this process has just written and will read next, kept in memory: reading it back costs as much again.

Only what the database holds as well is kept, and nothing depends on finding it here: a restart, another process or too
much of it means that it is read. Source: docs/performance.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

BYTES_MAX = 8 * 1024 * 1024
"""Beyond it the oldest are forgotten, such as those whose lanes another process has."""
ROW_BYTES = 1_000
"""About what a row takes apart from its payload."""

T = TypeVar("T")


@dataclass(slots=True)
class _Kept(Generic[T]):
    value: T
    size: int
    readers: int


class Recent(Generic[T]):
    """Committed rows by their number, each for as many readers as it will have."""

    def __init__(self, bytes_max: int = BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._kept: dict[int, _Kept[T]] = {}
        self._bytes = 0

    def keep(self, number: int, value: T, *, payload: bytes, readers: int = 1) -> None:
        """Keep what has been committed; nothing where nobody will read it, or it is here already."""
        if readers and number not in self._kept:
            self._kept[number] = _Kept(value, len(payload) + ROW_BYTES, readers)
            self._bytes += self._kept[number].size
        while self._bytes > self._bytes_max:
            self._forget(next(iter(self._kept)))

    def take(self, number: int) -> T | None:
        """The row for one of its readers; None when it is not here."""
        kept = self._kept.get(number)
        if kept is None:
            return None
        kept.readers -= 1
        if kept.readers <= 0:
            self._forget(number)
        return kept.value

    def close(self) -> None:
        """Nobody reads in this process: keep nothing."""
        self._bytes_max = self._bytes = 0
        self._kept.clear()

    def __len__(self) -> int:
        return len(self._kept)

    def _forget(self, number: int) -> None:
        self._bytes -= self._kept.pop(number).size
