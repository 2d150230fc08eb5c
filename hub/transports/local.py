"""The embedded broker: topic exchanges and durable queues in the hub's own database.

A message is one row per queue that takes it, from its publication to its acknowledgement by id. Publishers take turns,
so rows become visible in the order of their ids and a follower may ask for what comes after the last one it saw.
Made for one machine: queues are handed out by the process that consumes them. Source: docs/guarantees.md, G3.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from operator import itemgetter
from typing import Any

import structlog
from sqlalchemy import delete, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.clock import Clock
from hub.errors import StoreUnavailableError
from hub.store import tables as t
from hub.store.alone import read_alone, write_alone
from hub.store.numbers import as_numbers
from hub.store.sequences import draw
from hub.store.store import FencedError, Store
from hub.transports.base import (
    CONSUME_BATCH_MAX,
    PUBLISH_TIMEOUT_S,
    Ability,
    Delivered,
    OnBatch,
    OnProven,
    OutboundMessage,
    PlanItem,
    PlanState,
    PublishResult,
)
from hub.transports.local_exchanges import Exchanges, Routed, plan_item, route, rows_of
from hub.transports.local_queues import LocalQueues
from hub.transports.local_statements import (
    ACKNOWLEDGE,
    BINDINGS,
    HAND_OUT,
    HAS_ANY,
    NO_MARK,
    NOT_EMPTY,
    STORE_COPIES,
    STORE_COPIES_SQLITE,
    columns_of,
    delivered_of,
    take_turn,
    values_of,
)
from hub.transports.topology import Topology

POLL_S = 0.5
"""How often an idle consumer looks for what another process published; its own process wakes it at once."""
READS_MAX = 10
"""How often the bindings are read again for one publishing, should others declare all the time."""
PAUSE_S_MIN = 0.1
PAUSE_S_MAX = 5.0

_b = t.local_bindings

log = structlog.get_logger(__name__)


class LocalTransport(LocalQueues):
    """A transport without a broker. Also reads queues for people, through ``LocalQueues``."""

    abilities = frozenset(
        {
            Ability.ORDERS_PER_KEY,
            Ability.HALTS_KEY,
            Ability.RETURNS_UNROUTABLE,
            Ability.REDELIVERED_FLAG,
            Ability.ABSORBS_REPEATS,
            Ability.SINGLE_CONSUMER,
            Ability.STABLE_TAGS,
        }
    )

    def __init__(self, store: Store, clock: Clock) -> None:
        super().__init__(store)
        self._clock = clock
        self._exchanges = Exchanges([])
        self._waiting: set[str] = set()
        self._looked_at_s = -POLL_S
        self._arrived: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._consuming: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def declare(self, topology: Topology, *, takes_away: bool = False) -> None:
        """Make the bindings what the topology says: nothing else has a say here, so there is no mismatch to refuse.

        On SQLite there is one process, and so no other rules: what the topology does not say goes in any case.
        A queue that is no longer named takes no new messages and keeps those it has, until they are acknowledged.
        """
        rows = rows_of(topology)

        async def work(conn: AsyncConnection) -> None:
            await take_turn(conn)
            stored = await _stored(conn)
            is_alone = conn.dialect.name == "sqlite"
            for exchange, queue, pattern in stored - rows if takes_away or is_alone else ():
                mine = (_b.c.exchange == exchange) & (_b.c.queue == queue) & (_b.c.pattern == pattern)
                await conn.execute(delete(_b).where(mine))
            added = [dict(zip(("exchange", "queue", "pattern"), row, strict=True)) for row in sorted(rows - stored)]
            if added:
                await conn.execute(insert(_b), added)

        await self._store.write(work)

    async def plan(self, topology: Topology) -> list[PlanItem]:
        """What ``declare`` would add and take away; nothing can differ here."""
        wanted = rows_of(topology)
        async with self._store.reading() as conn:
            stored = await _stored(conn)
        states = {row: PlanState.MATCHES if row in stored else PlanState.MISSING for row in wanted}
        states |= dict.fromkeys(stored - wanted, PlanState.STALE)
        return [plan_item(*row, states[row]) for row in sorted(states)]

    async def publish(
        self, messages: Sequence[OutboundMessage], *, timeout_s: float = PUBLISH_TIMEOUT_S
    ) -> list[PublishResult]:
        """One transaction for all: confirmed means committed. The database's own limits bound the time."""
        if not messages:
            return []

        if self._store.dialect == "postgresql":
            results, copies = await self._publish_alone(messages)
        else:
            results, copies = await self._store.write(lambda conn: self._publish_in(conn, messages), may_share=True)
        for queue in {queue for queue, _ in copies}:
            self._arrived[queue].set()
        return results

    async def _publish_alone(self, messages: Sequence[OutboundMessage]) -> Routed:
        """By the bindings as they were read last; what stores the copies does so only if they are still the same."""
        for _ in range(READS_MAX):
            results, copies = route(self._exchanges, messages)
            columns = columns_of(copies)
            rows = await write_alone(self._store, STORE_COPIES, self._exchanges.mark, self._clock.now(), *columns)
            if rows[0][0]:
                return results, copies
            # Another process has declared.
            bindings = await read_alone(self._store, BINDINGS)
            self._exchanges = Exchanges([tuple(row[:3]) for row in bindings], bindings[0][3] if bindings else NO_MARK)
        raise StoreUnavailableError("the bindings change all the time", delay_s=1.0)

    async def _publish_in(self, conn: AsyncConnection, messages: Sequence[OutboundMessage]) -> Routed:
        rows = [tuple(row[:3]) for row in await BINDINGS.rows(conn)]
        if rows != self._exchanges.rows:
            self._exchanges = Exchanges(rows)
        results, copies = route(self._exchanges, messages)
        if copies:
            numbers = await draw(conn, "local_message_seq", len(copies))
            rows_of_copies = [(number, *values_of(*copy)) for number, copy in zip(numbers, copies, strict=True)]
            await STORE_COPIES_SQLITE.run(conn, rows_of_copies, (self._clock.now(), 0))
        return results, copies

    async def consume(
        self,
        queue: str,
        on_batch: OnBatch,
        *,
        stopping: asyncio.Event,
        batch_size: int = CONSUME_BATCH_MAX,
        on_proven: OnProven | None = None,  # its tags are stable: nobody needs the proof
    ) -> None:
        """One consumer at a time; another one of this process stands by until the first has gone."""
        with suppress(StoreUnavailableError):  # the loop below waits for the database
            await self._known(queue)
        stopped = asyncio.ensure_future(stopping.wait())
        turn = asyncio.ensure_future(self._consuming[queue].acquire())
        try:
            await asyncio.wait({stopped, turn}, return_when=asyncio.FIRST_COMPLETED)
            if turn.done():
                await self._consume(queue, on_batch, stopping, stopped, batch_size)
        finally:
            stopped.cancel()
            if not turn.cancel() and not turn.cancelled():
                self._consuming[queue].release()

    async def _consume(
        self, queue: str, on_batch: OnBatch, stopping: asyncio.Event, stopped: asyncio.Future[Any], batch_size: int
    ) -> None:
        pause_s = 0.0
        while not stopping.is_set():
            self._arrived[queue].clear()
            try:
                batch = await self._hand_out(queue, batch_size)
                if batch:
                    await on_batch(batch)
                    await self._acknowledge(queue, [delivered.tag for delivered in batch])
                else:
                    await self._wait(queue, stopped)
                pause_s = 0.0
            except FencedError:
                # Another worker has taken over: this process has no say in the queue any more.
                raise
            except Exception as error:
                # Whatever the handler raised: the batch is not safe, so it stays in the queue.
                pause_s = min(PAUSE_S_MAX, max(PAUSE_S_MIN, pause_s * 2))
                log.warning("queue_paused", queue=queue, error=type(error).__name__, pause_s=pause_s)
                await asyncio.wait({stopped}, timeout=pause_s)

    async def _wait(self, queue: str, stopped: asyncio.Future[Any]) -> None:
        """Until something is in the queue, as far as anybody knows, or nobody is to wait any more."""
        arrived = asyncio.ensure_future(self._arrived[queue].wait())
        self._waiting.add(queue)
        try:
            while not (arrived.done() or stopped.done()):
                await asyncio.wait({arrived, stopped}, timeout=POLL_S, return_when=asyncio.FIRST_COMPLETED)
                if not self._arrived[queue].is_set() and not stopped.done():
                    await self._look()
        finally:
            self._waiting.discard(queue)
            arrived.cancel()

    async def _look(self) -> None:
        """Wake those whose queues are not empty: one look for all that wait. It costs no write."""
        now_s = asyncio.get_running_loop().time()
        if now_s - self._looked_at_s < POLL_S / 2:
            return
        self._looked_at_s = now_s
        names = sorted(self._waiting)
        found = names if self._store.dialect == "postgresql" else json.dumps(names)
        for (queue,) in await read_alone(self._store, NOT_EMPTY, found):
            self._arrived[queue].set()

    async def _hand_out(self, queue: str, most: int) -> list[Delivered]:
        """The head of the queue. That it is handed out is committed first, so that a crash shows as a redelivery."""
        if self._store.dialect == "postgresql":
            # One that finds nothing writes nothing.
            rows = await write_alone(self._store, HAND_OUT, queue, most)
        elif await read_alone(self._store, HAS_ANY, queue):
            # Looking costs no write: an idle consumer must not fill the disk.
            rows = await write_alone(self._store, HAND_OUT, queue, most)
        else:
            return []
        return [delivered_of(row) for row in sorted(rows, key=itemgetter(0))]

    async def _acknowledge(self, queue: str, ids: Sequence[int]) -> None:
        await write_alone(self._store, ACKNOWLEDGE, queue, as_numbers(self._store.dialect, ids))

    async def healthy(self) -> bool:
        """It is there when the database is."""
        try:
            async with self._store.reading() as conn:
                await conn.execute(text("SELECT 1"))
        except StoreUnavailableError:
            return False
        return True

    async def state(self) -> str:
        """One line for people."""
        return "embedded queues"

    async def close(self) -> None:
        """Nothing to let go of: the store belongs to the hub."""


async def _stored(conn: AsyncConnection) -> set[tuple[str, str, str]]:
    return {tuple(row) for row in await conn.execute(select(_b.c.exchange, _b.c.queue, _b.c.pattern))}
