"""What may go wrong while a delivery runs, fails, waits and is run again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest.mock import patch
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.deliver.batch import ending_of
from hub.deliver.blocking import Block, block_chains, release_chains
from hub.deliver.drive import drive
from hub.deliver.settle import Settler, _own_chain
from hub.deliver.work import Discarded, Ending, Failed
from hub.event import chain_of
from hub.operate import parked
from hub.outbox import parked as parked_messages
from hub.ownership import rows as ownership
from hub.ownership.holding import Kind
from hub.store import tables as t
from hub.store.sequences import draw
from hub.store.store import Fence
from tests.mutants.planting import everywhere

BEHIND = timedelta(milliseconds=300)


@contextmanager
def an_error_discards_the_message() -> Iterator[None]:
    """What a library does unless it is told otherwise: whatever the handler raised, the message is gone."""

    def careless(error: BaseException) -> Ending:
        ending = ending_of(error)
        return Discarded("failed") if isinstance(ending, Failed) else ending

    with everywhere(ending_of, careless):
        yield


@contextmanager
def a_cancelled_handler_has_done_its_work() -> Iterator[None]:
    """The process stops, the handler is cancelled, and its delivery is done."""

    async def content(
        handler: Awaitable[object], timeout_s: float, *, on_late: Callable[[], None] = lambda: None
    ) -> object:
        try:
            return await drive(handler, timeout_s, on_late=on_late)
        except asyncio.CancelledError:
            if task := asyncio.current_task():
                task.uncancel()
            return None

    with everywhere(drive, content):
        yield


@contextmanager
def a_failed_delivery_leaves_its_chain() -> Iterator[None]:
    """It is tried again by itself, and whatever came after it goes on."""
    original: Any = Settler._retry_or_park

    def leaving(self: Any, work: Any, *rest: Any) -> Any:
        row, block = original(self, work, *rest)
        if row["state"] == "retrying" and block is not None:
            own = _own_chain(work)
            return row | {"chain": own}, replace(block, chain=own)
        return row, block

    with patch.object(Settler, "_retry_or_park", leaving):
        yield


@contextmanager
def what_is_retried_goes_to_the_back() -> Iterator[None]:
    """A person retries what is parked, a delivery or a message, and it comes after all that waited for it."""
    of_deliveries, of_messages = parked.retry_rows, parked_messages.retry_message

    async def apart(conn: AsyncConnection, clock: Any, rows: Sequence[Any]) -> Any:
        changed = await of_deliveries(conn, clock, rows)
        for row in rows:
            own = chain_of(row.route_id, str(row.event_id))
            later = clock.now() + BEHIND
            await conn.execute(update(t.deliveries).where(t.deliveries.c.id == row.id).values(chain=own, next_at=later))
            block = Block(own, row.lane, row.id, "backoff", later)
            await block_chains(conn, [block])
        await release_chains(conn, [row.chain for row in rows], now=clock.now())
        return changed

    async def last(store: Any, clock: Any, seq: int, *, actor: str, reason: str = "") -> int:
        lane = await of_messages(store, clock, seq, actor=actor, reason=reason)

        async def renumber(conn: AsyncConnection) -> None:
            [number] = await draw(conn, "outbox_seq", 1)
            await conn.execute(update(t.outbox).where(t.outbox.c.seq == seq).values(seq=number))

        await store.write(renumber)
        return lane

    with everywhere(of_deliveries, apart), everywhere(of_messages, last):
        yield


@contextmanager
def attempts_begin_anew_with_a_worker() -> Iterator[None]:
    """Whoever takes lanes over begins to count at nothing: a message that kills is tried for ever."""
    original = ownership.take

    async def forgetting(conn: AsyncConnection, kind: Kind, me: UUID, target: int, known: Collection[int]) -> Any:
        taken = await original(conn, kind, me, target, known)
        open_ = t.deliveries.c.state.in_(("ready", "waiting", "retrying", "calling", "deferred"))
        await conn.execute(update(t.deliveries).where(open_).values(attempts=0))
        return taken

    with patch.object(ownership, "take", forgetting):
        yield


@contextmanager
def two_workers_take_one_row() -> Iterator[None]:
    """Nothing is claimed: whoever looks takes all lanes, and nobody is asked whether they are still his."""
    original = ownership.take

    async def greedy(conn: AsyncConnection, kind: Kind, me: UUID, target: int, known: Collection[int]) -> Any:
        taken = await original(conn, kind, me, target, known)
        every = frozenset((await conn.scalars(t.lanes.select().with_only_columns(t.lanes.c.lane).distinct())).all())
        gained = sorted(every - set(known))
        return ownership.Taken(every, gained, [one for one in taken.careful if one in gained])

    async def open_gate(self: Fence, conn: AsyncConnection) -> None:
        return

    async def keeps(self: Any, holding: Any, surplus: int) -> None:
        return

    with (
        patch.object(ownership, "take", greedy),
        patch.object(Fence, "hold", open_gate),
        patch("hub.ownership.member.Member._hand_over", keeps),
    ):
        yield
