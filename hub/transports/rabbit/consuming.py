"""Consuming: what has arrived is handed out in batches, one at a time, and acknowledged message by message.

A batch that cannot be stored stays in hand and is tried again; nothing is ever refused, so nothing loops through the
broker. When its channel or its consumer ends (a restart, a failover, a queue that somebody deleted) the consumer is set
up again. Source: docs/guarantees.md, G1; docs/rabbitmq.md, "Consuming".
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog

from hub.errors import ConfigError, StoreUnavailableError
from hub.store.store import FencedError
from hub.transports.base import Delivered, OnBatch, OnProven, TransportUnavailableError
from hub.transports.rabbit import metrics
from hub.transports.rabbit.link import Link
from hub.transports.rabbit.session import Session

PAUSE_S_MIN: Final = 0.1
PAUSE_S_MAX: Final = 5.0
PROBE_S: Final = 5.0
"""How often the broker is asked whether it still has our consumer, and whether it answers at all."""
IDLE_S_MAX: Final = 60.0
"""A consumer that has got nothing for so long is set up anew. A quorum queue that was deleted and made again at once
hands messages to a consumer that it takes for ours and that never gets them; no question shows it (RabbitMQ 3.10)."""
PROVE_S: Final = 0.2
"""How long acknowledgements are collected before the broker is asked whether it has them."""

REFRESHED: Final = "set up anew after a quiet time"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Reading:
    """What to read: the broker's queues (several for partitions), for whom, in batches of how many."""

    name: str
    queues: Sequence[str]
    on_batch: OnBatch
    on_proven: OnProven | None
    batch_size: int
    prefetch: int


class Consumer:
    """Reads until ``stopping`` is set, whatever becomes of connections and queues."""

    def __init__(
        self, link: Link, reading: Reading, prepare: Callable[[bool], Awaitable[None]], stopping: asyncio.Event
    ) -> None:
        self._link = link
        self._reading = reading
        self._prepare = prepare
        self._stopping = stopping
        self._session: Session | None = None
        self.problem = "not consuming yet"
        """Why nothing is read just now; empty while all is well."""

    def queues_made_again(self, names: Sequence[str]) -> None:
        """These were gone: whatever consumed them before hangs in the air."""
        if self._session is not None and set(names) & set(self._reading.queues):
            self._session.end("the queue was deleted and made again")

    async def run(self) -> None:
        """Read. Raises FencedError when another worker has taken over."""
        stopped = asyncio.ensure_future(self._stopping.wait())
        pause_s, times = 0.0, 0
        # Known from the beginning, so that one that never comes about is missed; and only while it is wanted.
        metrics.CONSUMERS.labels(queue=self._reading.name).set(0)
        try:
            while not self._stopping.is_set():
                try:
                    times += await self._attend(stopped, is_first=times == 0)
                    pause_s = 0.0
                except (TransportUnavailableError, StoreUnavailableError, ConfigError) as error:
                    self._tell(str(error))
                    pause_s = min(PAUSE_S_MAX, max(PAUSE_S_MIN, pause_s * 2))
                    await asyncio.wait({stopped}, timeout=pause_s)
        finally:
            stopped.cancel()
            metrics.CONSUMERS.remove(self._reading.name)

    async def _attend(self, stopped: asyncio.Future[Any], *, is_first: bool) -> int:
        """One session from its beginning to its end; 1 when messages could be read in it."""
        await self._prepare(is_first)
        session = await Session.open(self._link, self._reading.queues, prefetch=self._reading.prefetch)
        self._session, name = session, self._reading.name
        if not is_first and self.problem != REFRESHED:
            metrics.RESTORED.labels(queue=name).inc()
            log.warning("queue_consumer_restored", queue=name, after=self.problem)
        self.problem = ""
        metrics.CONSUMERS.labels(queue=name).set(len(self._reading.queues))
        try:
            async with asyncio.TaskGroup() as group:
                helpers = [group.create_task(self._probe(session)), group.create_task(self._prove(session))]
                try:
                    await self._read(session, stopped)
                finally:
                    for helper in helpers:
                        helper.cancel()
        except* FencedError as errors:
            raise errors.exceptions[0] from errors
        finally:
            metrics.CONSUMERS.labels(queue=name).set(0)
            await session.close()
        self.problem = session.ended or "stopped"
        return 1

    async def _read(self, session: Session, stopped: asyncio.Future[Any]) -> None:
        while not self._stopping.is_set():
            if session.ended is not None:
                # What is in hand comes again: the broker has taken it back.
                return
            batch = session.take(self._reading.batch_size)
            if not batch:
                await session.wait(stopped)
            elif await self._store(session, batch, stopped):
                tags = [one.tag for one in batch]
                with suppress(TransportUnavailableError):  # the session has ended: they come again, as repeats
                    await session.acknowledge(tags)
                    metrics.DELIVERED.labels(queue=self._reading.name).inc(len(tags))

    async def _store(self, session: Session, batch: Sequence[Delivered], stopped: asyncio.Future[Any]) -> bool:
        """Hand the batch out until it is safe. False when the hub stops, or the broker has taken the batch back."""
        pause_s = 0.0
        while True:
            try:
                await self._reading.on_batch(batch)
                return True
            except FencedError:
                raise
            except Exception as error:
                # Whatever the handler raised: the batch is not safe. The prefetch keeps more from coming.
                pause_s = min(PAUSE_S_MAX, max(PAUSE_S_MIN, pause_s * 2))
                log.warning("queue_paused", queue=self._reading.name, error=type(error).__name__, pause_s=pause_s)
            await session.wait_for_end(stopped, timeout_s=pause_s)
            if self._stopping.is_set() or session.ended is not None:
                return False
            batch = [replace(one, redelivered=True) for one in batch]

    async def _prove(self, session: Session) -> None:
        """Ask now and then whether acknowledgements have arrived: the answer on the same channel comes after them."""
        on_proven = self._reading.on_proven
        if on_proven is None:
            return
        while session.ended is None:
            tags = await session.acknowledged()
            try:
                await session.ask()
            except TransportUnavailableError as error:
                # Left unproven, they can only absorb a repeat that is one.
                log.debug("acknowledgements_not_proven", queue=self._reading.name, error=str(error))
            else:
                await self._tell_proven(on_proven, tags)
            await asyncio.sleep(PROVE_S)

    async def _tell_proven(self, on_proven: OnProven, tags: Sequence[int]) -> None:
        """Until it is written down: what stays in doubt although it is proven would absorb another message."""
        while True:
            try:
                return await on_proven(tags)
            except StoreUnavailableError as error:
                log.warning("proof_not_stored", queue=self._reading.name, error=str(error))
                await asyncio.sleep(PROVE_S)

    async def _probe(self, session: Session) -> None:
        """Find out what nobody tells: a connection that swallows everything, a consumer that the broker forgot."""
        quiet_s = 0.0
        while session.ended is None:
            taken_in = session.taken_in
            await asyncio.sleep(PROBE_S)
            quiet_s = quiet_s + PROBE_S if session.is_idle_since(taken_in) else 0.0
            try:
                problem = await session.probe() or (REFRESHED if quiet_s >= IDLE_S_MAX else "")
            except TransportUnavailableError as error:
                if session.ended is None:
                    session.end(str(error))
                    self._link.cut()
                return
            if problem:
                session.end(problem)

    def _tell(self, problem: str) -> None:
        if problem != self.problem:
            log.warning("queue_awaited", queue=self._reading.name, reason=problem)
        self.problem = problem
