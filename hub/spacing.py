"""When a round of the worker or the relay begins: at once where none was of late, else milliseconds after the last.

A round of one event costs nearly as much as one of ten. Where events come one by one, faster than rounds end, each
would have a round of its own: so the next begins a little later, with what has come by then. Source:
docs/performance.md.
"""

from __future__ import annotations

import asyncio

SPACE_S = 0.004
"""From the end of a small round to the beginning of the next."""
SMALL_MAX = 50
"""A round of more is worth its fixed cost."""


class Spacing:
    """Told of one loop's rounds as they end; asked to ``wait`` before each. Who was idle for so long does not wait."""

    def __init__(self) -> None:
        self._next_s = 0.0

    async def wait(self) -> None:
        """Until the next round may begin."""
        if (left_s := self._next_s - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(left_s)

    def ended(self, done: int, *, is_more: bool) -> None:
        """A round has done so many; ``is_more``: what is left can go on at once."""
        is_small = done <= SMALL_MAX and not is_more
        self._next_s = asyncio.get_running_loop().time() + SPACE_S if is_small else 0.0
