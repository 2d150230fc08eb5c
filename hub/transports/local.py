"""The embedded broker: topic exchanges and durable queues in the hub's own database.

A message is one row per queue that takes it, from its publication to its acknowledgement by id. Publishers take turns,
so rows become visible in the order of their ids and a follower may ask for what comes after the last one it saw.
Made for one machine: queues are handed out by the process that consumes them. Source: docs/guarantees.md, G3.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, TypeAlias

import structlog
from sqlalchemy import delete, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.clock import Clock
from hub.errors import StoreUnavailableError
from hub.routing.patterns import PatternIndex
from hub.store import tables as t
from hub.store.alone import read_alone, write_alone
from hub.store.bulk import BulkInsert
from hub.store.direct import Direct
from hub.store.numbers import as_numbers
from hub.store.plain import PlainRow
from hub.store.sequences import draw
from hub.store.store import FencedError, Store
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
READS_MAX = 10
"""How often the bindings are read again for one publishing, should others declare all the time."""
PAUSE_S_MIN = 0.1
PAUSE_S_MAX = 5.0

_m, _b = t.local_messages, t.local_bindings

log = structlog.get_logger(__name__)

_Routed: TypeAlias = tuple[list[PublishResult], list[tuple[str, OutboundMessage]]]


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
        self._waiting: set[str] = set()
        self._looked_at_s = -POLL_S
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

        if self._store.dialect == "postgresql":
            results, copies = await self._publish_alone(messages)
        else:
            results, copies = await self._store.write(lambda conn: self._publish_in(conn, messages), may_share=True)
        for queue in {queue for queue, _ in copies}:
            self._arrived[queue].set()
        return results

    async def _publish_alone(self, messages: Sequence[OutboundMessage]) -> _Routed:
        """By the bindings as they were read last; what stores the copies does so only if they are still the same."""
        for _ in range(READS_MAX):
            results, copies = _route(self._exchanges, messages)
            columns = _columns(copies)
            rows = await write_alone(self._store, _STORE, self._exchanges.mark, self._clock.now(), *columns)
            if rows[0][0]:
                return results, copies
            # Another process has declared.
            bindings = await read_alone(self._store, _BINDINGS)
            self._exchanges = _Exchanges([tuple(row[:3]) for row in bindings], bindings[0][3] if bindings else NO_MARK)
        raise StoreUnavailableError("the bindings change all the time", delay_s=1.0)

    async def _publish_in(self, conn: AsyncConnection, messages: Sequence[OutboundMessage]) -> _Routed:
        rows = [tuple(row[:3]) for row in await _BINDINGS.rows(conn)]
        if rows != self._exchanges.rows:
            self._exchanges = _Exchanges(rows)
        results, copies = _route(self._exchanges, messages)
        if copies:
            numbers = await draw(conn, "local_message_seq", len(copies))
            rows_of_copies = [(number, *_values(*copy)) for number, copy in zip(numbers, copies, strict=True)]
            await _STORE_MANY.run(conn, rows_of_copies, (self._clock.now(), 0))
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
        for (queue,) in await read_alone(self._store, _NOT_EMPTY, found):
            self._arrived[queue].set()

    async def _hand_out(self, queue: str, most: int) -> list[Delivered]:
        """The head of the queue. That it is handed out is committed first, so that a crash shows as a redelivery."""
        if self._store.dialect == "postgresql":
            # One that finds nothing writes nothing.
            rows = await write_alone(self._store, _HAND_OUT, queue, most)
        elif await read_alone(self._store, _HAS_ANY, queue):
            # Looking costs no write: an idle consumer must not fill the disk.
            rows = await write_alone(self._store, _HAND_OUT, queue, most)
        else:
            return []
        return [_delivered(row) for row in sorted(rows, key=itemgetter(0))]

    async def _acknowledge(self, queue: str, ids: Sequence[int]) -> None:
        await write_alone(self._store, _ACKNOWLEDGE, queue, as_numbers(self._store.dialect, ids))

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

    def __init__(self, rows: Sequence[tuple[str, str, str]], mark: str = "") -> None:
        self.rows = list(rows)
        self.mark = mark
        """By which the database knows these bindings from others; none, and they are read before they are used."""
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


def _values(queue: str, message: OutboundMessage) -> tuple[object, ...]:
    of_message = (message.message_id, message.routing_key, message.content_type, message.payload)
    return (queue, *of_message, dict(message.headers))


def _columns(copies: Sequence[tuple[str, OutboundMessage]]) -> Iterable[Sequence[object]]:
    """An array per column of ``_STORE``."""
    rows = [_values(*copy) for copy in copies]
    *columns, headers = zip(*rows, strict=True) if rows else [()] * 6
    return (*columns, [json.dumps(one) if one else "{}" for one in headers])


def _delivered(row: PlainRow) -> Delivered:
    tag, message_id, routing_key, content_type, payload, headers, at, deliveries = row
    return Delivered(
        tag=tag,
        message_id=message_id,
        routing_key=routing_key,
        content_type=content_type,
        payload=payload,
        headers=json.loads(headers),
        redelivered=deliveries > 1,
        timestamp=(datetime.fromisoformat(at) if isinstance(at, str) else at).astimezone(UTC),
    )


TURN_LOCK = 0x4855425F4C4F4341
"""The number of the lock that publishers hold to the end of their transaction ("HUB_LOCA")."""


async def _take_turn(conn: AsyncConnection) -> None:
    """Let one transaction at a time add messages. SQLite has one writer anyway."""
    if conn.dialect.name == "postgresql":
        await conn.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": TURN_LOCK})


NO_MARK = "0"
_MARK = "coalesce(sum(hashtextextended(concat_ws(E'\\x1f', exchange, queue, pattern), 0)){over}, 0)::text"
_BINDINGS = Direct(
    postgresql=f"SELECT exchange, queue, pattern, {_MARK.format(over=' OVER ()')} FROM local_bindings ORDER BY 1, 2, 3",  # noqa: S608 - our words
    sqlite="SELECT exchange, queue, pattern FROM local_bindings ORDER BY 1, 2, 3",
)
# The number of each copy is drawn behind the turn and in their order; the turn ends when this is committed. Bindings
# that are declared while it waits for its turn count as declared after it.
_STORE = Direct(
    postgresql=f"""\
WITH turn AS MATERIALIZED (SELECT pg_advisory_xact_lock({TURN_LOCK})),
known AS MATERIALIZED (SELECT $1::text = (SELECT {_MARK.format(over="")} FROM local_bindings) AS is_so FROM turn),
stored AS (
  INSERT INTO local_messages
    (id, queue, message_id, routing_key, content_type, payload, headers, published_at, deliveries)
  SELECT nextval('local_message_seq'), c.queue, c.message_id, c.routing_key, c.content_type, c.payload,
         c.headers::jsonb, $2::timestamptz, 0
  FROM (SELECT new.* FROM known
        CROSS JOIN unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::bytea[], $8::text[])
          WITH ORDINALITY AS new (queue, message_id, routing_key, content_type, payload, headers, place)
        WHERE known.is_so ORDER BY new.place OFFSET 0) AS c
  ON CONFLICT (queue, message_id) DO NOTHING)
SELECT is_so FROM known""",  # noqa: S608 - our words
    sqlite="",
)
_STORE_MANY = BulkInsert(
    _m,
    ("id", "queue", "message_id", "routing_key", "content_type", "payload", "headers"),
    same=("published_at", "deliveries"),
    conflict='ON CONFLICT ("queue", "message_id") DO NOTHING',
)
_NOT_EMPTY = Direct(
    postgresql="""\
SELECT q.name FROM unnest($1::text[]) AS q (name)
WHERE (SELECT m.id FROM local_messages AS m WHERE m.queue = q.name ORDER BY m.id LIMIT 1) IS NOT NULL""",
    sqlite="""\
SELECT q.value FROM json_each(?1) AS q
WHERE (SELECT m.id FROM local_messages AS m WHERE m.queue = q.value ORDER BY m.id LIMIT 1) IS NOT NULL""",
)
_HAS_ANY = Direct(postgresql="", sqlite="SELECT 1 FROM local_messages WHERE queue = ? LIMIT 1")
_HAND_OUT = Direct(
    postgresql="""\
UPDATE local_messages SET deliveries = deliveries + 1
WHERE id = ANY (ARRAY(SELECT id FROM local_messages WHERE queue = $1 ORDER BY id LIMIT $2::bigint))
RETURNING id, message_id, routing_key, content_type, payload, headers::text, published_at, deliveries""",
    sqlite="""\
UPDATE local_messages SET deliveries = deliveries + 1
WHERE id IN (SELECT id FROM local_messages WHERE queue = ?1 ORDER BY id LIMIT ?2)
RETURNING id, message_id, routing_key, content_type, payload, headers, published_at, deliveries""",
)
_ACKNOWLEDGE = Direct(
    postgresql="DELETE FROM local_messages WHERE queue = $1 AND id = ANY ($2::bigint[])",
    sqlite="DELETE FROM local_messages WHERE queue = ?1 AND id IN (SELECT value FROM json_each(?2))",
)
