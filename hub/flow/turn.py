"""One call's turn at a provider, and how it ends: for the next caller, as soon as the answer is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TypeAlias

from hub.calls.outcome import LookupOutcome
from hub.errors import RetryableError

End: TypeAlias = Callable[[], None]


class Turn:
    """One call's turn. ``saw`` is told how the call ended; without it, nothing is learned from it."""

    def __init__(self, give_back: End | None = None, *, is_probe: bool = False) -> None:
        self._give_back = give_back
        self.is_probe = is_probe
        self.ending: LookupOutcome | RetryableError | None = None

    def saw(self, ending: LookupOutcome | RetryableError) -> None:
        """The call ended with this outcome, or with the provider's word that nothing was done."""
        self.ending = ending

    def over(self) -> None:
        """The provider is free for the next call; what came of this one may still be looked at. Once only."""
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """What calls the provider within finds this turn by ``end_of_turn``."""
        token = _taken.set(self)
        try:
            yield
        finally:
            _taken.reset(token)


_taken: ContextVar[Turn | None] = ContextVar("turn", default=None)


def end_of_turn() -> End:
    """What a client that calls in a thread calls there when a good answer has been read; good for any thread.

    Else the provider is idle until the event loop has got round to the answer. Not after an answer from which something
    may follow for the next call, as *too many*. Without a turn it does nothing.
    """
    turn, loop = _taken.get(), asyncio.get_running_loop()

    def end() -> None:
        if turn is not None:
            # The loop may be gone: nobody else calls then.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(turn.over)

    return end
