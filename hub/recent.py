"""What this process has just written and will read next, kept in memory: reading it back costs as much again.

Only what the database holds as well is kept, or is about to hold: it is put here before its commit, since whoever
reads next may be faster than the answer that it is committed, and taken out where that fails. On PostgreSQL nobody else
has had its number by then. SQLite draws it again, perhaps before: so an event is used only under its own id
(hub/deliver/picker.py), and a message is kept only after its commit (hub/deliver/worker.py). Nothing depends on finding
it here: a restart, another process or too much of it means that it is read. Source: docs/performance.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

BYTES_MAX = 4 * 1024 * 1024
"""Beyond it nothing more is kept: readers begin with the oldest, which so are still here when their turn comes."""
AGE_S_MAX = 10.0
"""One that nobody has read for so long makes room: it waits for something, or its lane is another process's."""
ROW_BYTES = 1_500
"""About what a row takes apart from its payload."""
MISSED_MAX = 2_000
"""Rows that were read before they could be kept: what is committed may be picked before its writer goes on."""
READ_SHARE = 3
"""What was read of a payload, as objects and as a model, takes about so many times its bytes."""

T = TypeVar("T")


@dataclass(slots=True)
class _Kept(Generic[T]):
    value: T
    size: int
    readers: int
    until_s: float


class Recent(Generic[T]):
    """Rows by their number, each for as many readers as it will have."""

    def __init__(self, bytes_max: int = BYTES_MAX, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._bytes_max = bytes_max
        self._monotonic = monotonic
        self._kept: dict[int, _Kept[T]] = {}
        self._bytes = 0
        self._missed: dict[int, int] = {}

    def keep(self, number: int, value: T, *, payload: bytes, readers: int = 1, is_read: bool = False) -> None:
        """Keep what is about to be committed; nothing where nobody will read it, or it is here already.

        ``is_read``: the value also holds what its payload says.
        """
        readers -= self._missed.pop(number, 0)
        if readers <= 0 or number in self._kept:
            return
        size, now_s = ROW_BYTES + len(payload) * (1 + READ_SHARE if is_read else 1), self._monotonic()
        while self._bytes + size > self._bytes_max and self._kept:
            oldest = next(iter(self._kept))
            if self._kept[oldest].until_s > now_s:
                return
            self._forget(oldest)
        if size <= self._bytes_max:
            self._kept[number] = _Kept(value, size, readers, now_s + AGE_S_MAX)
            self._bytes += size

    def take(self, number: int) -> T | None:
        """The row for one of its readers; None when it is not here."""
        kept = self._kept.get(number)
        if kept is None:
            self._miss(number)
            return None
        kept.readers -= 1
        if kept.readers <= 0:
            self._forget(number)
        return kept.value

    def forget(self, numbers: Iterable[int]) -> None:
        """These were not committed after all."""
        for number in numbers:
            if number in self._kept:
                self._forget(number)

    def close(self) -> None:
        """Nobody reads in this process: keep nothing."""
        self._bytes_max = self._bytes = 0
        self._kept.clear()
        self._missed.clear()

    def __len__(self) -> int:
        return len(self._kept)

    def _miss(self, number: int) -> None:
        """One of its readers has been and gone: kept for it after that, the row would wait for nobody."""
        self._missed[number] = self._missed.get(number, 0) + 1
        if len(self._missed) > MISSED_MAX:
            del self._missed[next(iter(self._missed))]

    def _forget(self, number: int) -> None:
        self._bytes -= self._kept.pop(number).size
