"""Deliveries whose handlers call a provider: each runs as a task of its own, its chain waiting, no lane waiting for it.

Up to the last call no transaction is open. The first touch of the ledger or the session opens the one in which all
effects and the end of the delivery are written.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from hub import tracing
from hub.calls.record import CallRecorder
from hub.capability import HANDLER_S_MAX, HandlerSpec
from hub.deliver import metrics
from hub.deliver.batch import argument_of, ending_of, holds, is_being_cancelled, pinned
from hub.deliver.context import Context, Surroundings
from hub.deliver.drive import HandlerLateError, drive
from hub.deliver.registry import Rules
from hub.deliver.settle import Attempt, Settler
from hub.deliver.telling import tell
from hub.deliver.unit import Owned, UnitOfWork
from hub.deliver.work import Discarded, Ending, Work
from hub.errors import PermanentError, StoreUnavailableError
from hub.event import Event
from hub.flow.provider import Provider
from hub.ledger import Book
from hub.ownership.holding import Holding
from hub.signal import LaneSignal
from hub.store import tables as t
from hub.store.session import open_session
from hub.store.store import Fence, FencedError, interrupt, sqlstate, unavailable
from hub.store.words import words_for_logs

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

SETTLE_PAUSE_S = 1.0
RERUN_DELAY_S = 0.1
LANES_PER_END = 8
"""So many lanes are looked at again for each call that has ended: there is room for one delivery, wherever it is."""
GATHER_SHARE = 0.1
GATHER_S_MAX = 0.05
"""Where a provider is full, a place stays free for this part of what a call took: then several are filled at once."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Out:
    """A delivery that has a task."""

    work: Work
    provider: Provider | None
    begun_s: float


class Callers:
    """The calling tasks of one worker, bounded in number."""

    def __init__(
        self,
        around: Surroundings,
        rules: Callable[[], Rules],
        holding: Holding,
        to_deliver: LaneSignal,
        to_publish: LaneSignal,
        *,
        calls_max: int,
    ) -> None:
        self._around = around
        self._rules = rules
        self._holding = holding
        self._fence = holding.fence
        self._to_deliver = to_deliver
        self._to_publish = to_publish
        self._calls_max = calls_max
        self._tasks: dict[asyncio.Task[None], _Out] = {}
        self._left_out: dict[int, None] = {}
        self._unread: dict[int, None] = {}
        self._gathered: list[int] = []
        self._look: asyncio.TimerHandle | None = None

    @property
    def room(self) -> int:
        """How many more may start."""
        return self._calls_max - len(self._tasks)

    def room_for(self, spec: HandlerSpec) -> int:
        """How many more may start of those that this handler runs: none while its provider stands still."""
        return min(self.room, self._around.flow.provider(spec.provider or "").room(spec.priority))

    @property
    def in_flight(self) -> frozenset[int]:
        """The deliveries that have a task."""
        return frozenset(out.work.id for out in self._tasks.values())

    @property
    def lanes(self) -> frozenset[int]:
        """The lanes of those deliveries."""
        return frozenset(out.work.lane for out in self._tasks.values())

    def leave_out(self, lanes: Iterable[int]) -> None:
        """These lanes have deliveries for which there was no room; they are looked at again when there is."""
        for lane in lanes:
            self._left_out[lane] = None

    def leave_unread(self, lanes: Iterable[int]) -> None:
        """These lanes may have some, which were not even read: they come after those that are known to."""
        for lane in lanes:
            self._unread[lane] = None

    def start(self, work: Work) -> None:
        """Run this delivery, which is marked as calling, in a task of its own."""
        task = asyncio.create_task(self._run(work), name=f"call-{work.id}")
        provider = None
        if (spec := self._rules().handler_of(work.route_id)) is not None:
            provider = self._around.flow.provider(spec.provider or "")
            provider.in_hand += 1
        # The task is held here: one that nobody holds can vanish.
        self._tasks[task] = _Out(work, provider, time.perf_counter())
        metrics.CALLS_IN_FLIGHT.set(len(self._tasks))
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        out = self._tasks.pop(task)
        if out.provider is not None:
            out.provider.in_hand -= 1
        metrics.CALLS_IN_FLIGHT.set(len(self._tasks))
        self._gathered.append(out.work.lane)
        if not self._tasks or not (self._left_out or self._unread):
            self._look_again()
        elif self._look is None:
            # Others wait for a place. Were each taken as soon as one is free, each would have a transaction of its own.
            took_s = time.perf_counter() - out.begun_s
            loop = asyncio.get_running_loop()
            self._look = loop.call_later(min(GATHER_S_MAX, GATHER_SHARE * took_s), self._look_again)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("calling_task_failed", error=words_for_logs(error), exc_info=error)

    def _look_again(self) -> None:
        """At the lanes of the calls that have ended, and at some of those for which there was no room."""
        if self._look is not None:
            self._look.cancel()
            self._look = None
        again = list(self._left_out)[: LANES_PER_END * len(self._gathered)]
        for lane in again:
            del self._left_out[lane]
        if len(again) < len(self._gathered):
            # A place would stay empty until the next sweep. No more is read than fits a batch, however many they are.
            again += self._unread
            self._unread.clear()
        self._to_deliver.add(self._gathered)
        self._to_deliver.again(again)
        self._gathered.clear()

    async def finish(self, deadline_s: float) -> None:
        """Let calls in flight end within the deadline; the rest is left on record as started, to be asked about."""
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=deadline_s)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=1.0)

    async def _run(self, work: Work) -> None:
        rules = self._rules()
        recorder = self._recorder_of(work, rules)
        transaction = LazyTransaction(self._around, self._fence, rules, recorder, self._holding.slot)
        started_at, start = self._around.clock.now(), time.perf_counter()
        try:
            ending, context = await self._handle(work, rules, transaction)
            duration_ms = (time.perf_counter() - start) * 1000
            await self._finish(transaction, Attempt(work, ending, started_at, duration_ms), context, rules)
        except FencedError:
            log.warning("call_outcome_left_to_successor", delivery_id=work.id)
        except asyncio.CancelledError:
            await transaction.abandon()
            # What was answered is known, although nothing follows from it yet.
            with suppress(StoreUnavailableError, FencedError):
                await recorder.settle()
            raise
        finally:
            await transaction.abandon()

    def _recorder_of(self, work: Work, rules: Rules) -> CallRecorder:
        spec = rules.handler_of(work.route_id)
        provider = self._around.flow.provider((spec.provider if spec is not None else None) or "")
        is_first = work.state == "ready" and not work.attempts
        return CallRecorder(self._around.store, self._fence, self._around.clock, provider, is_first=is_first)

    async def _handle(self, work: Work, rules: Rules, transaction: LazyTransaction) -> tuple[Ending, Context | None]:
        try:
            route = rules.routes_by_id.get(work.route_id)
            if route is None or route.handle is None:
                raise PermanentError("its route is no longer in routing.yaml")
            if work.unsure and not holds(route, work.event):
                return Discarded("condition false"), None
            spec = rules.handlers[route.handle]
            work = tracing.carried(work)
            context = Context(
                work.event,
                route,
                work.id,
                pinned(self._around, rules),
                transaction,
                recorder=transaction.recorder,
                provider=spec.provider or "",
                priority=spec.priority,
            )
            try:
                running = spec.function(argument_of(spec.model, work.event), context)
                await drive(running, spec.timeout_s, on_late=transaction.interrupt)
            finally:
                context.close()
            return context.effects.ending, context
        except FencedError:
            raise
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and is_being_cancelled():
                raise
            return ending_of(error), None

    async def _finish(
        self, transaction: LazyTransaction, attempt: Attempt, context: Context | None, rules: Rules
    ) -> None:
        """Write the end of the delivery with its effects; after an error, the end alone."""
        if context is not None:
            try:
                await transaction.complete(attempt, Owned(attempt.work.id, attempt.work.event.id, context.effects))
            except FencedError:
                raise
            except Exception as error:
                attempt = replace(attempt, ending=ending_of(error))
            else:
                self._to_deliver.add(event.lane for event in transaction.emitted)
                self._to_publish.add(message.lane for message in context.effects.messages)
                tell(attempt, rules)
                return
        await transaction.abandon()
        settler = Settler(self._around.clock, rules.routes_by_id)

        async def work(conn: AsyncConnection) -> bool:
            # Whoever lost the connection at its commit does not know whether that has happened. It has when this is no
            # longer calling; the row is locked because the commit may still be under way.
            same = select(t.deliveries.c.state).where(t.deliveries.c.id == attempt.work.id).with_for_update()
            if await conn.scalar(same) != "calling":
                return False
            await _write_answers(transaction.recorder, conn)
            await settler.settle(conn, [attempt], {attempt.work.chain})
            return True

        while True:
            try:
                is_written = await self._around.store.write(work, fence=self._fence)
            except StoreUnavailableError as error:
                log.warning("settling_paused", error=str(error))
                await asyncio.sleep(SETTLE_PAUSE_S)
            else:
                if is_written:
                    tell(attempt, rules)
                return


async def _write_answers(recorder: CallRecorder, conn: AsyncConnection) -> None:
    """What the calls of an attempt were answered. What the database cannot hold stays in doubt, and is asked about."""
    if not recorder.has_answers:
        return
    try:
        async with conn.begin_nested():
            await recorder.write(conn)
    except DBAPIError as error:
        if unavailable(error) is not None or sqlstate(error)[:2] == "40":
            raise
        log.error("call_answers_not_kept", error=words_for_logs(error))


class LazyTransaction:
    """A transaction that opens when the handler first needs it and is completed after the handler has returned.

    ``Store.write`` wants a closure; the closure waits here while the handler goes on in its own task, so that the
    store's rules (one writer, fence, rollback) hold for these deliveries as for all others.
    """

    def __init__(self, around: Surroundings, fence: Fence, rules: Rules, recorder: CallRecorder, slot: int = 0) -> None:
        self._around = around
        self._fence = fence
        self._rules = rules
        self._slot = slot
        self.recorder = recorder
        """What its calls were answered is written with its end."""
        self._task: asyncio.Task[None] | None = None
        self._opened: asyncio.Future[UnitOfWork] | None = None
        self._orders: asyncio.Future[tuple[Attempt, Owned]] | None = None
        self._session: AsyncSession | None = None
        self.emitted: list[Event] = []

    @property
    def is_open(self) -> bool:
        return self._task is not None

    async def ledger(self) -> Book:
        return (await self._unit()).book

    def session(self) -> AsyncSession:
        if self._session is None:
            raise PermanentError("await ctx.begin() before the first use of ctx.session in a calling handler")
        return self._session

    async def begin(self) -> None:
        """Open the transaction, if it is not open."""
        await self._unit()

    async def _unit(self) -> UnitOfWork:
        if self._opened is None:
            loop = asyncio.get_running_loop()
            self._opened, self._orders = loop.create_future(), loop.create_future()
            self._task = asyncio.create_task(self._hold(self._opened, self._orders))
        assert self._task is not None
        either: set[asyncio.Future[Any]] = {self._opened, self._task}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not self._opened.done():
            self._task.result()
        unit = self._opened.result()
        if self._session is None:
            self._session = open_session(unit.conn, join_transaction_mode="rollback_only")
        return unit

    async def _hold(self, opened: asyncio.Future[UnitOfWork], orders: asyncio.Future[tuple[Attempt, Owned]]) -> None:
        settler = Settler(self._around.clock, self._rules.routes_by_id)

        async def work(conn: AsyncConnection) -> None:
            if opened.done():
                # The handler is past its beginning. Its calls are on record, so that it can be run again as a whole.
                raise StoreUnavailableError("the database wants the transaction run again", delay_s=RERUN_DELAY_S)
            unit = UnitOfWork(conn, self._rules.route_ids, self._around.clock.now(), self._slot)
            opened.set_result(unit)
            attempt, owned = await self._order(orders)
            if self._session is not None:
                await self._session.flush()
            await self.recorder.write(conn)
            stored = await unit.flush([owned])
            self.emitted = [event for answer, event in stored if answer.kind == "event"]
            await settler.settle(conn, [attempt], {attempt.work.chain})

        await self._around.store.write(work, fence=self._fence)

    async def _order(self, orders: asyncio.Future[tuple[Attempt, Owned]]) -> tuple[Attempt, Owned]:
        """Wait for the handler's end. Not for ever: on SQLite nobody else can write meanwhile."""
        try:
            async with asyncio.timeout(HANDLER_S_MAX):
                return await orders
        except TimeoutError as error:
            raise HandlerLateError(HANDLER_S_MAX) from error

    def interrupt(self) -> None:
        """Stop the statement that is under way."""
        if self._opened is not None and self._opened.done() and not self._opened.cancelled():
            interrupt(self._opened.result().conn)

    async def complete(self, attempt: Attempt, owned: Owned) -> None:
        """Write the effects and the end of the delivery, and commit."""
        await self._unit()
        assert self._orders is not None
        assert self._task is not None
        self._orders.set_result((attempt, owned))
        await self._task

    async def abandon(self) -> None:
        """Roll back, unless it is committed already."""
        if self._task is None or self._task.done():
            return
        self._task.cancel()
        await asyncio.wait({self._task}, timeout=5.0)
