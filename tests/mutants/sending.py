"""What may go wrong between the outbox, the broker and those who read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.outbox import marks, verdicts
from hub.store import tables as t
from hub.transports import local_exchanges
from hub.transports.base import Confirmed, Unroutable
from hub.transports.local import LocalTransport
from hub.transports.rabbit import publishing
from hub.transports.rabbit.consuming import Consumer
from tests.mutants.planting import everywhere


@contextmanager
def a_range_of_messages_is_marked() -> Iterator[None]:
    """All up to the last that went, and so also those in between that nobody has sent, or seen."""
    original = marks._mark_sent

    async def ranging(conn: AsyncConnection, seqs: Sequence[int], now: Any) -> None:
        await original(conn, seqs, now)
        if seqs:
            unsent = (t.outbox.c.seq <= max(seqs)) & t.outbox.c.state.in_(("ready", "waiting"))
            await conn.execute(update(t.outbox).where(unsent).values(state="sent", sent_at=now))

    with everywhere(original, ranging):
        yield


@contextmanager
def a_consumer_that_stumbles_is_gone() -> Iterator[None]:
    """Its connection, its queue or its batch was lost once: its task ends, and nobody is told."""
    attend: Any = Consumer._attend
    consume: Any = LocalTransport._consume

    async def once(self: Any, stopped: asyncio.Future[Any], *, is_first: bool) -> int:
        if not is_first:
            await stopped
            return 0
        times: int = await attend(self, stopped, is_first=is_first)
        return times

    async def fragile(self: Any, queue: str, on_batch: Any, stopping: Any, stopped: Any, batch_size: int) -> None:
        gone = False

        async def stumbling(batch: Any) -> None:
            nonlocal gone
            if gone:
                await stopped
            try:
                await on_batch(batch)
            except Exception:
                gone = True
                raise

        await consume(self, queue, stumbling, stopping, stopped, batch_size)

    with patch.object(Consumer, "_attend", once), patch.object(LocalTransport, "_consume", fragile):
        yield


@contextmanager
def a_publish_waits_for_ever() -> Iterator[None]:
    """While nobody answers, whoever publishes waits, and everybody behind him."""
    patient = SimpleNamespace(**{name: getattr(asyncio, name) for name in dir(asyncio) if not name.startswith("__")})
    patient.timeout = lambda _seconds: asyncio.timeout(None)
    with patch("hub.transports.rabbit.publishing.asyncio", patient), patch("hub.outbox.relay.asyncio", patient):
        yield


@contextmanager
def what_nobody_takes_counts_as_published() -> Iterator[None]:
    """The broker has taken it, so it is sent; that it had no queue for it is another word, which nobody waits for."""
    answer, route, judge = publishing._answer, local_exchanges.route, verdicts.judge

    def content(future: Any) -> Any:
        found = answer(future)
        return publishing.CONFIRMED if isinstance(found, publishing.Returned) else found

    def taken(exchanges: Any, messages: Any) -> Any:
        results, copies = route(exchanges, messages)
        return [Confirmed() if isinstance(one, Unroutable) else one for one in results], copies

    def lenient(picked: Any, results: Any, clock: Any) -> Any:
        believed = {seq: Confirmed() if isinstance(one, Unroutable) else one for seq, one in results.items()}
        return judge(picked, believed, clock)

    with everywhere(answer, content), everywhere(route, taken), everywhere(judge, lenient):
        yield
