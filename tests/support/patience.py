"""Waiting for a condition: as long as something moves, and a good while after that.

A deadline is there to end a test that hangs, never to tell how fast the machine is: where the tests have passed, they
pass on one that is ten times slower, or has ten times as much to do.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

STILL_S_MAX = 120.0
"""How long a test waits while nothing moves. The time-out of a whole test (pyproject.toml) is several times this."""
LOOK_S = 0.01


async def until(
    condition: Callable[[], Any],
    what: str = "the condition",
    *,
    deadline_s: float = STILL_S_MAX,
    pause_s: float = LOOK_S,
    moves: Callable[[], Any] | None = None,
) -> None:
    """Wait for a condition (a function, or one that returns an awaitable).

    ``moves`` (of the same kind) is for work of some size: it returns something that changes as long as the work goes
    on, such as the number of rows that are done, and the deadline begins anew with each change.

    Raises: TimeoutError, when nothing has moved for ``deadline_s``.
    """
    seen: list[Any] = []
    while True:
        try:
            async with asyncio.timeout(deadline_s) as patience:
                while not await _value_of(condition):  # noqa: ASYNC110 - it may be in another process
                    await asyncio.sleep(pause_s)
                return
        except TimeoutError as error:
            if not patience.expired():
                raise
            now = await _value_of(moves) if moves is not None else None
            if moves is None or now in seen[-1:]:
                moved = f", and nothing moved ({now})" if moves is not None else ""
                raise TimeoutError(f"waited {deadline_s:g} s in vain for {what}{moved}") from error
            seen.append(now)


async def _value_of(asked: Callable[[], Any]) -> Any:
    found = asked()
    return await found if inspect.isawaitable(found) else found
