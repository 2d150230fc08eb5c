"""The embedded broker: topic exchanges and durable queues in the hub's own database.

A message is one row per queue that takes it, from its publication to its acknowledgement by id. Publishers take turns,
so rows become visible in the order of their ids and a follower may ask for what comes after the last one it saw.
Made for one machine: queues are handed out by the process that consumes them. Source: docs/guarantees.md, G3.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import structlog
from sqlalchemy import delete, exists, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.clock import Clock
from hub.errors import StoreUnavailableError
from hub.routing.patterns import PatternIndex
from hub.store import tables as t
from hub.store.sequences import draw
from hub.store.store import FencedError, Store
from hub.store.upserts import insert_for
from hub.transports.base import (
    CONSUME_BATCH_MAX,
    HELD_BACK,
    PUBLISH_TIMEOUT_S,
    Ability,
    Confirmed,
    Delivered,
    OnBatch,
    OnProven,
    OutboundMessage,
    PlanItem,
    PlanState,
    PublishResult,
    Unroutable,
)
from hub.transports.local_queues import DEFAULT_EXCHANGE, LocalQueues
from hub.transports.topology import Topology

POLL_S = 0.5
"""How often an idle consumer looks for what another process published; its own process wakes it at once."""
PAUSE_S_MIN = 0.1
PAUSE_S_MAX = 5.0

_m, _b = t.local_messages, t.local_bindings

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
        self._exchanges = _Exchanges([])
        self._arrived: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._consuming: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def declare(self, topology: Topology, *, takes_away: bool = False) -> None:
        """Make the bindings what the topology says: nothing else has a say here, so there is no mismatch to refuse.

        On SQLite there is one process, and so no other rules: what the topology does not say goes in any case.
        A queue that is no longer named takes no new messages and keeps those it has, until they are acknowledged.
        """
        rows = _rows_of(topology)

        async def work(conn: AsyncConnection) -> None:
            await _take_turn(conn)
            stored = {tuple(row) for row in await conn.execute(select(_b.c.exchange, _b.c.queue, _b.c.pattern))}
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
        wanted = _rows_of(topology)
        async with self._store.reading() as conn:
            stored = {tuple(row) for row in await conn.execute(select(_b.c.exchange, _b.c.queue, _b.c.pattern))}
        states = {row: PlanState.MATCHES if row in stored else PlanState.MISSING for row in wanted}
        states |= dict.fromkeys(stored - wanted, PlanState.STALE)
        return [_plan_item(*row, states[row]) for row in sorted(states)]

    async def publish(
        self, messages: Sequence[OutboundMessage], *, timeout_s: float = PUBLISH_TIMEOUT_S
    ) -> list[PublishResult]:
        """One transaction for all: confirmed means committed. The database's own limits bound the time."""
        if not messages:
            return []

        async def work(conn: AsyncConnection) -> tuple[list[PublishResult], set[str]]:
            await _take_turn(conn)
            exchanges = await self._read_exchanges(conn)
            results, copies = _route(exchanges, messages)
            await self._store_copies(conn, copies)
            return results, {queue for queue, _ in copies}

        results, queues = await self._store.write(work)
        for queue in queues:
            self._arrived[queue].set()
        return results

    async def _read_exchanges(self, conn: AsyncConnection) -> _Exchanges:
        """The bindings as they are now. Another process may have declared, so they are read and only then trusted."""
        query = select(_b.c.exchange, _b.c.queue, _b.c.pattern).order_by(_b.c.exchange, _b.c.queue, _b.c.pattern)
        rows = [(row.exchange, row.queue, row.pattern) for row in await conn.execute(query)]
        if rows != self._exchanges.rows:
            self._exchanges = _Exchanges(rows)
        return self._exchanges

    async def _store_copies(self, conn: AsyncConnection, copies: Sequence[tuple[str, OutboundMessage]]) -> None:
        if not copies:
            return
        now = self._clock.now()
        numbers = await draw(conn, "local_message_seq", len(copies))
        rows = [
            {
                "id": number,
                "queue": queue,
                "message_id": message.message_id,
                "routing_key": message.routing_key,
                "content_type": message.content_type,
                "payload": message.payload,
                "headers": dict(message.headers),
                "published_at": now,
                "deliveries": 0,
            }
            for number, (queue, message) in zip(numbers, copies, strict=True)
        ]
        new = insert_for(conn.dialect.name, _m).on_conflict_do_nothing(index_elements=["queue", "message_id"])
        await conn.execute(new, rows)

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
        arrived = asyncio.ensure_future(self._arrived[queue].wait())
        try:
            await asyncio.wait({arrived, stopped}, timeout=POLL_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            arrived.cancel()

    async def _hand_out(self, queue: str, most: int) -> list[Delivered]:
        """The head of the queue. That it is handed out is committed first, so that a crash shows as a redelivery."""
        async with self._store.reading() as conn:
            # Looking costs no write: an idle consumer must not fill the disk.
            if not await conn.scalar(select(exists().where(_m.c.queue == queue))):
                return []
        head = select(_m.c.id).where(_m.c.queue == queue).order_by(_m.c.id).limit(most)
        statement = update(_m).where(_m.c.id.in_(head)).values(deliveries=_m.c.deliveries + 1).returning(_m)

        async def work(conn: AsyncConnection) -> list[Delivered]:
            rows = sorted(await conn.execute(statement), key=lambda row: row.id)
            return [_delivered(row) for row in rows]

        return await self._store.write(work)

    async def _acknowledge(self, queue: str, ids: Sequence[int]) -> None:
        async def work(conn: AsyncConnection) -> None:
            await conn.execute(delete(_m).where(_m.c.queue == queue, _m.c.id.in_(ids)))

        await self._store.write(work)

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


def _rows_of(topology: Topology) -> set[tuple[str, str, str]]:
    """The bindings as rows; a queue stands in the nameless exchange under its own name."""
    rows = {(binding.exchange, binding.queue, binding.pattern) for binding in topology.bindings}
    return rows | {(DEFAULT_EXCHANGE, queue.name, queue.name) for queue in topology.queues}


def _plan_item(exchange: str, queue: str, pattern: str, state: PlanState) -> PlanItem:
    if exchange == DEFAULT_EXCHANGE:
        return PlanItem(kind="queue", name=queue, state=state)
    return PlanItem(kind="binding", name=f"{exchange} → {queue} by {pattern}", state=state)


class _Exchanges:
    """The bindings, ready to answer which queues take a message."""

    def __init__(self, rows: Sequence[tuple[str, str, str]]) -> None:
        self.rows = list(rows)
        patterns: defaultdict[str, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        self._queues: set[str] = set()
        for exchange, queue, pattern in rows:
            if exchange == DEFAULT_EXCHANGE:
                self._queues.add(queue)
            else:
                patterns[exchange][queue].append(pattern)
        self._indexes = {
            exchange: (tuple(queues), PatternIndex(list(queues.values()))) for exchange, queues in patterns.items()
        }

    def queues_for(self, message: OutboundMessage) -> list[str]:
        """The queues that take it. The nameless exchange knows every queue by its own name, as in AMQP."""
        if message.exchange == DEFAULT_EXCHANGE:
            return [message.routing_key] if message.routing_key in self._queues else []
        queues, index = self._indexes.get(message.exchange, ((), _EMPTY))
        return [queues[number] for number in index.match(message.routing_key)]


_EMPTY = PatternIndex([])


def _route(
    exchanges: _Exchanges, messages: Iterable[OutboundMessage]
) -> tuple[list[PublishResult], list[tuple[str, OutboundMessage]]]:
    """The verdict on each message, and a copy for each queue that takes one. A key stops at its first obstacle."""
    results: list[PublishResult] = []
    copies: list[tuple[str, OutboundMessage]] = []
    halted: set[tuple[str, str]] = set()
    for message in messages:
        chain = (message.exchange, message.key)
        if chain in halted:
            results.append(HELD_BACK)
            continue
        queues = exchanges.queues_for(message)
        if not queues:
            halted.add(chain)
            results.append(Unroutable(_no_queue(message)))
            continue
        copies += [(queue, message) for queue in queues]
        results.append(Confirmed())
    return results, copies


def _no_queue(message: OutboundMessage) -> str:
    if message.exchange == DEFAULT_EXCHANGE:
        return f"there is no queue {message.routing_key!r}"
    return f"no queue is bound to exchange {message.exchange!r} for routing key {message.routing_key!r}"


def _delivered(row: Any) -> Delivered:
    return Delivered(
        tag=row.id,
        message_id=row.message_id,
        routing_key=row.routing_key,
        content_type=row.content_type,
        payload=row.payload,
        headers=row.headers,
        redelivered=row.deliveries > 1,
        timestamp=row.published_at,
    )


TURN_LOCK = 0x4855425F4C4F4341
"""The number of the lock that publishers hold to the end of their transaction ("HUB_LOCA")."""


async def _take_turn(conn: AsyncConnection) -> None:
    """Let one transaction at a time add messages. SQLite has one writer anyway."""
    if conn.dialect.name == "postgresql":
        await conn.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": TURN_LOCK})
