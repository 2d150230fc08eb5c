"""How fast queues are read: not much faster than what they bring is worked on.

Reading is cheaper than delivering, so that a reader runs ahead through a backlog: what it has accepted then lies in the
database, is gone from memory when its turn comes, and is read back. In the broker's queue it lies just as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

WAIT_S_MAX = 5.0
"""A batch that takes long, such as behind a lock that somebody holds, does not keep out what comes in."""
AHEAD_MAX = 1_000
"""Accepted events that may wait in memory for a worker that is behind: the next batch, and one read meanwhile."""


class Pace:
    """Told by a worker of its batches; readers of queues wait for it before they take more."""

    def __init__(self) -> None:
        self._is_behind = False
        self._next = asyncio.Event()

    def tell(self, *, is_behind: bool) -> None:
        """A batch has ended, and this is how it stands: there was more to do than it could take."""
        self._is_behind = is_behind
        self.took()

    def took(self) -> None:
        """A batch has been read, and no longer waits in memory: while its database works, there is time to read on."""
        self._next.set()
        self._next = asyncio.Event()

    async def wait(self, ahead: Callable[[], int]) -> None:
        """While the worker is behind and more than enough is ``ahead`` of it; no longer than ``WAIT_S_MAX``."""
        try:
            async with asyncio.timeout(WAIT_S_MAX):
                while self._is_behind and ahead() >= AHEAD_MAX:
                    await self._next.wait()
        except TimeoutError:
            return
