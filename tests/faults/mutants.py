"""Hubs that break one promise each, to see whether the judge notices. Each is the mistake that its name says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.deliver.picker import pick
from hub.deliver.worker import Worker
from hub.inbox.accept import GroupCommit
from hub.inbox.received import Accepted
from hub.outbox.marks import Marks, write_marks
from hub.outbox.relay import Relay
from hub.store import tables as t
from hub.transports.base import OutboundMessage
from hub.transports.local import LocalTransport


@contextmanager
def delivery_is_marked_done_before_its_effects() -> Iterator[None]:
    """The mark commits in a transaction of its own, ahead of the thing that it stands for."""
    original: Any = Worker._round

    async def early(self: Any, lanes: Sequence[int], **options: Any) -> Any:
        async def mark(conn: AsyncConnection) -> None:
            await conn.execute(
                update(t.deliveries)
                .where(t.deliveries.c.state == "ready", t.deliveries.c.lane.in_(lanes))
                .values(state="done", finished_at=self._around.clock.now())
            )

        async def picked_before(conn: AsyncConnection, *_: Any, **__: Any) -> Any:
            return found

        async def look(conn: AsyncConnection) -> Any:
            return await pick(conn, lanes, limit=self._batch_size, now=self._around.clock.now())

        found = await self._around.store.write(look)
        await self._around.store.write(mark)
        with patch("hub.deliver.worker.pick", picked_before):
            return await original(self, lanes, **options)

    with patch.object(Worker, "_round", early):
        yield


@contextmanager
def relay_marks_sent_before_publishing() -> Iterator[None]:
    """The message leaves the outbox before any broker has it."""

    async def early(self: Any, messages: Sequence[OutboundMessage]) -> Any:
        async def mark(conn: AsyncConnection) -> None:
            ids = [message.message_id for message in messages]
            rows = await conn.execute(t.outbox.select().where(t.outbox.c.message_id.in_(ids)))
            await write_marks(conn, Marks(sent=[row.seq for row in rows]), now=self._clock.now())

        if messages:
            await self._store.write(mark)
        return await original(self, messages)

    original: Any = Relay._publish
    with patch.object(Relay, "_publish", early):
        yield


@contextmanager
def webhook_is_answered_before_the_commit() -> Iterator[None]:
    """The sender goes away content while its message is only in memory."""

    async def early(self: Any, messages: Sequence[Any]) -> list[Accepted]:
        drafter = self._drafter()
        # The bare future is never asked: whoever sent the message has his answer already.
        asyncio.ensure_future(original(self, messages))  # noqa: RUF006 - nobody waits for it
        await asyncio.sleep(0)
        return [Accepted("event", drafter.draft(one).event.id, "") for one in messages]

    def early_soon(self: Any, received: Any, tell: Callable[[Accepted], None]) -> None:
        soon(self, received, lambda _: None)
        tell(Accepted("event", self._drafter().draft(received).event.id, ""))

    original: Any = GroupCommit.accept_all
    soon: Any = GroupCommit.accept_soon
    with patch.object(GroupCommit, "accept_all", early), patch.object(GroupCommit, "accept_soon", early_soon):
        yield


@contextmanager
def queue_is_acknowledged_before_the_commit() -> Iterator[None]:
    """The broker forgets the messages before the inbox has them."""

    async def early(self: Any, queue: str, most: int) -> Any:
        batch = await original(self, queue, most)
        await self._acknowledge(queue, [delivered.tag for delivered in batch])
        return batch

    original: Any = LocalTransport._hand_out
    with patch.object(LocalTransport, "_hand_out", early):
        yield


MUTANTS: Mapping[str, tuple[str, Callable[[], AbstractContextManager[None]]]] = {
    "delivery is marked done before its effects": ("top-up", delivery_is_marked_done_before_its_effects),
    "relay marks sent before publishing": ("top-up", relay_marks_sent_before_publishing),
    "webhook is answered before the commit": ("top-up", webhook_is_answered_before_the_commit),
    "queue is acknowledged before the commit": ("forward", queue_is_acknowledged_before_the_commit),
}
"""What is wrong → the scenario that shows it, and how to make it so."""
