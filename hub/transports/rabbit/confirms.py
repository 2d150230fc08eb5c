"""The broker's words on the messages of one block: one future for all, not one with six callbacks for each.

Each message has an object where aiormq keeps its futures; it does what aiormq asks of one. Source: docs/rabbitmq.md,
"Speed".
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias


class Countdown:
    """Ends with the last word on a block of messages, or with their channel."""

    __slots__ = ("end", "missing")

    def __init__(self, end: asyncio.Future[None], count: int) -> None:
        """``end`` is one of the channel's futures, so that it is rejected when the channel closes."""
        self.end = end
        self.missing = count

    def answered(self) -> None:
        """One more message is."""
        self.missing -= 1
        if not self.missing and not self.end.done():
            self.end.set_result(None)


class Confirmation:
    """One message's answer, with a future's methods as far as they are used on it."""

    __slots__ = ("_countdown", "_error", "_is_answered", "_result")

    def __init__(self, countdown: Countdown) -> None:
        self._countdown = countdown
        self._is_answered = False
        self._result: Any = None
        self._error: BaseException | None = None

    def set_result(self, result: Any) -> None:
        """The broker has taken the message, or returned it."""
        self._result, self._is_answered = result, True
        self._countdown.answered()

    def set_exception(self, error: BaseException) -> None:
        """The broker has refused it."""
        self._error, self._is_answered = error, True
        self._countdown.answered()

    def done(self) -> bool:
        """It is answered, or its channel has ended."""
        return self._is_answered or self._countdown.end.done()

    def cancelled(self) -> bool:
        """Its channel was given up before it was answered."""
        return not self._is_answered and self._countdown.end.cancelled()

    def exception(self) -> BaseException | None:
        """The refusal, or what ended the channel; None once the broker has taken or returned it."""
        return self._error if self._is_answered else self._countdown.end.exception()

    def result(self) -> Any:
        """The broker's frame, or the message that it returned."""
        return self._result

    def cancel(self) -> None:
        """Nobody waits for it any more. Nothing to do: its channel is given up as a whole."""


Awaited: TypeAlias = "asyncio.Future[Any] | Confirmation"


@dataclass(frozen=True, slots=True)
class Confirms:
    """What is known of each message of a block, in order, once all the ``ends`` are done."""

    each: Sequence[Awaited]
    ends: Sequence[asyncio.Future[Any]]

    async def wait(self) -> None:
        """Until every message is answered, or none will be any more."""
        await asyncio.wait(self.ends)
