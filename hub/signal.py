"""Signals: which lanes have work. They may get lost; the sweep over the database stands behind them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

ANY_LANE = -1
"""No lane: something was stored somewhere, look at all of them."""


async def is_set_within(event: asyncio.Event, timeout_s: float) -> bool:
    """Wait until the event is set, or the time is over; answers which it was."""
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    return True


RETURNING_SHARE = 4
"""One lane in so many that are taken is kept for those that are looked at again."""


class LaneSignal:
    """Lanes that somebody said have work, taken in the order in which they were named.

    Those with something new go before those that are only looked at again, which keep a share: a crowd of retries does
    not hold up what has just come, nor the reverse.
    """

    def __init__(self) -> None:
        self._lanes: dict[int, None] = {}
        self._returning: dict[int, None] = {}
        self._event = asyncio.Event()
        self._is_woken = False

    def add(self, lanes: Iterable[int]) -> None:
        """Say that these lanes have work."""
        self.note(lanes)

    def note(self, lanes: Iterable[int]) -> None:
        """The same, for this process alone."""
        for lane in lanes:
            self._lanes[lane] = None
            self._returning.pop(lane, None)
        if self._lanes:
            self._event.set()

    def again(self, lanes: Iterable[int]) -> None:
        """Say that these lanes of ours may have more work: retries that are due, the rest of a backlog."""
        for lane in lanes:
            if lane not in self._lanes:
                self._returning[lane] = None
        if self._returning:
            self._event.set()

    def is_mine(self, lane: int) -> bool:
        """Whether whoever takes lanes here may work on this one."""
        return True

    def take(self, most: int) -> list[int]:
        """Up to ``most`` lanes, which are forgotten here."""
        kept = min(len(self._returning), max(1, most // RETURNING_SHARE)) if most > 1 else 0
        taken = list(self._lanes)[: most - kept]
        taken += list(self._returning)[: most - len(taken)]
        for lane in taken:
            self._lanes.pop(lane, None)
            self._returning.pop(lane, None)
        self._rest()
        return taken

    def wake(self) -> None:
        """Let whoever waits, or is about to, look up, although there is no work."""
        self._is_woken = True
        self._event.set()

    async def wait(self, timeout_s: float) -> None:
        """Until a lane is named, somebody wakes us, or the time is over."""
        await is_set_within(self._event, timeout_s)
        self._is_woken = False
        self._rest()

    def _rest(self) -> None:
        # Who takes the last lanes has not looked up yet: that is for the next wait.
        if not self and not self._is_woken:
            self._event.clear()

    def __bool__(self) -> bool:
        return bool(self._lanes or self._returning)


class SharedSignal(LaneSignal):
    """Lanes of which other processes own some: what is said of those goes ``elsewhere``, and is not taken here.

    ``is_mine`` of ANY_LANE answers whether all are ours.
    """

    def __init__(self, is_mine: Callable[[int], bool], elsewhere: Callable[[set[int]], None]) -> None:
        super().__init__()
        self._owns = is_mine
        self._elsewhere = elsewhere

    def is_mine(self, lane: int) -> bool:
        return self._owns(lane)

    def add(self, lanes: Iterable[int]) -> None:
        named = list(dict.fromkeys(lanes))
        self.note(named)
        if others := {lane for lane in named if not self.is_mine(lane)}:
            self._elsewhere(others)

    def note(self, lanes: Iterable[int]) -> None:
        super().note(lane for lane in lanes if lane == ANY_LANE or self.is_mine(lane))
