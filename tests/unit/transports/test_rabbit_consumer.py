"""A consumer whose session has ended begins another one, for as long as it is wanted: here without a broker."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from hub.transports import Delivered
from hub.transports.base import TransportUnavailableError
from hub.transports.rabbit import consuming
from hub.transports.rabbit.consuming import Consumer, Reading
from hub.transports.rabbit.link import Link

WAIT_S = 30.0
LOST = "the connection was lost"


class Sessions:
    """Sessions that end at once with these words, and a last one in which the consumer is told to stop."""

    def __init__(self, ends: Sequence[str], stopping: asyncio.Event) -> None:
        self._ends = list(ends)
        self._stopping = stopping
        self.opened = 0

    async def open(self, _link: Link, _queues: Sequence[str], *, prefetch: int) -> Any:
        self.opened += 1
        end = self._ends.pop(0) if self._ends else None
        if end == "refused":
            raise TransportUnavailableError("nobody answers")
        if end is None:
            self._stopping.set()
        return Session(end)


class Session:
    """One in which nothing ever comes."""

    def __init__(self, ended: str | None) -> None:
        self.ended = ended
        self.taken_in = 0

    def take(self, _most: int) -> list[Delivered]:
        return []

    async def wait(self, stopped: asyncio.Future[Any]) -> None:
        await stopped

    async def close(self) -> None:
        return


@pytest.mark.parametrize("ends", [[], [LOST], [LOST, "refused", LOST]], ids=len)
async def test_whatever_ends_a_session_the_next_one_follows(monkeypatch: pytest.MonkeyPatch, ends: list[str]) -> None:
    stopping = asyncio.Event()
    sessions = Sessions(ends, stopping)
    monkeypatch.setattr(consuming, "Session", sessions)

    async def store(_batch: Sequence[Delivered]) -> None:
        return

    async def prepare(_is_first: bool) -> None:
        return

    reading = Reading("orders", ["orders"], store, None, batch_size=10, prefetch=10)
    consumer = Consumer(cast(Link, None), reading, prepare, stopping)

    async with asyncio.timeout(WAIT_S):
        await consumer.run()

    assert sessions.opened == len(ends) + 1
