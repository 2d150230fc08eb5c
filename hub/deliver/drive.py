"""Running a handler's coroutine within its time, even one that swallows its cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, cast

from hub.errors import RetryableError

GRACE_S = 2.0
"""How long a handler that was told to stop may take to clean up, such as to give back a database connection."""


class HandlerLateError(RetryableError):
    """The handler did not end in time; told to stop, it did."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"the handler did not end within {timeout_s:g} s")


class HandlerStuckError(RetryableError):
    """The handler went on after it was cancelled. It was left behind, and its transaction must be rolled back."""


async def drive(handler: Awaitable[object], timeout_s: float, *, on_late: Callable[[], None] = lambda: None) -> object:
    """The handler's result. Raises HandlerLateError when it ended by its cancellation, else HandlerStuckError.

    One that caught its cancellation and returned is late all the same: who was told to stop has not done its work.
    ``on_late`` is called just before the handler is told.

    The coroutine moves only while it is driven from here, so one that will not end is simply not driven any further:
    nothing of it runs on in the background.
    """
    coroutine = cast("Coroutine[Any, Any, object]", handler)
    try:
        # Most handlers wait for nothing: they have ended before a clock would have been set.
        waited = coroutine.send(None)
    except StopIteration as stop:
        return cast(object, stop.value)
    limit, end = asyncio.timeout(timeout_s), asyncio.timeout(timeout_s + GRACE_S)
    try:
        async with end, limit:
            result = await _Driven(coroutine, waited, limit, end, on_late)
    except HandlerStuckError:
        raise
    except Exception as error:
        # A time-out of the handler's own making is an error like any other.
        if limit.expired():
            raise HandlerLateError(timeout_s) from error
        raise
    if limit.expired():
        raise HandlerLateError(timeout_s)
    return result


class _Driven:
    def __init__(
        self,
        coroutine: Coroutine[Any, Any, object],
        waited: object,
        limit: asyncio.Timeout,
        end: asyncio.Timeout,
        on_late: Callable[[], None],
    ) -> None:
        self._coroutine = coroutine
        self._waited = waited
        self._limit = limit
        self._end = end
        self._on_late = on_late

    def __await__(self) -> Generator[Any, None, object]:
        waited, is_told = self._waited, False
        thrown: BaseException | None = None
        while True:
            try:
                yield waited
            except BaseException as error:
                thrown = error
                if self._limit.expired() and not is_told:
                    is_told = True
                    self._on_late()
            try:
                waited = self._coroutine.send(None) if thrown is None else self._coroutine.throw(thrown)
            except StopIteration as stop:
                return cast(object, stop.value)
            thrown = None
            if self._end.expired():
                self._leave_behind()
                raise HandlerStuckError("the handler swallowed its cancellation and did not end in time")

    def _leave_behind(self) -> None:
        try:
            self._coroutine.close()
        except RuntimeError:
            # It ignores even its closing. Nobody drives it any more.
            return
