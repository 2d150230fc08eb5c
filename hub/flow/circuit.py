"""When to stop asking somebody who does not answer: so many of the last calls without an answer.

Only the counting is here. That a circuit is open is a row that all processes see (``pauses.py``), and half open is what
it is when the time of that row is over.
"""

from __future__ import annotations

from collections import deque


class Circuit:
    """Counts the last calls of one provider, or refusals of one destination, in this process."""

    def __init__(self, failures: int, of: int) -> None:
        self._failures = failures
        self._last: deque[bool] = deque(maxlen=of)

    @property
    def failed(self) -> int:
        """How many of the last ones failed."""
        return sum(self._last)

    def saw(self, *, failure: bool) -> bool:
        """One more has ended; answers whether that is too much."""
        self._last.append(failure)
        return failure and self.failed >= self._failures

    def forget(self) -> None:
        """Begin to count again."""
        self._last.clear()
