"""Errors as logs tell them: where each happened and what kind it is, without the data that its text may quote.

PostgreSQL names the failing row in its DETAIL, and pydantic the value that it refused: money, names, card numbers. What
an error may say is decided in one place, ``hub/store/words.py``; the stack shows lines of code and never values.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import TypeAlias

from hub.store.words import words_for_logs

ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None]

CHAIN_MAX = 10
"""How many errors of one chain or group are told."""


def told(exc_info: ExcInfo) -> str:
    """The error with its stack, those that caused it first; of a group, its members behind it."""
    return "\n".join(_parts(exc_info[1], exc_info[2]))


class SafeFormatter(logging.Formatter):
    """For what libraries log: asyncio and aiohttp hand over errors of ours with everything in them."""

    def formatException(self, ei: ExcInfo | tuple[None, None, None]) -> str:  # noqa: N802 - the library's name
        return "" if ei[1] is None else told((type(ei[1]), ei[1], ei[2]))


def _parts(error: BaseException, stack: TracebackType | None) -> Iterator[str]:
    for cause, how in reversed(list(_causes(error))):
        yield _one(cause, cause.__traceback__)
        yield how
    yield _one(error, stack)
    if isinstance(error, BaseExceptionGroup):
        for number, member in enumerate(error.exceptions[:CHAIN_MAX], start=1):
            yield f"member {number} of {len(error.exceptions)}:"
            yield from _parts(member, member.__traceback__)


def _causes(error: BaseException) -> Iterator[tuple[BaseException, str]]:
    """The errors before this one, the nearest first, each with how the next one came of it."""
    seen = {id(error)}
    while len(seen) <= CHAIN_MAX:
        before, how = error.__cause__, "which was the cause of:"
        if before is None and not error.__suppress_context__:
            before, how = error.__context__, "and while that was handled:"
        if before is None or id(before) in seen:
            return
        seen.add(id(before))
        yield before, how
        error = before


def _one(error: BaseException, stack: TracebackType | None) -> str:
    lines = "".join(traceback.format_tb(stack))
    head = "Traceback (most recent call last):\n" if lines else ""
    return f"{head}{lines}{words_for_logs(error)}"
