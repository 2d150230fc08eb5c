"""The delivery loop: pick, run, settle, again.

One worker owns lanes and runs their deliveries in batches, each in one transaction that holds its fence. Deliveries
whose handlers call a provider are handed to tasks of their own. Source: docs/decisions/0003-chains-and-lanes.md.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

import structlog
from sqlalchemy import update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.deliver.batch import BatchResult, BatchRunner, FlushError, single_failure
from hub.deliver.caller import Callers
from hub.deliver.context import Surroundings
from hub.deliver.effects import OutgoingMessage
from hub.deliver.halving import Unwritable, run_all_but_the_culprits
from hub.deliver.lost_calls import give_back_lost_calls
from hub.deliver.picker import lanes_with_work, pick
from hub.deliver.registry import Rules
from hub.deliver.remains import chains_not_run, chains_that_go_on, may_have_left
from hub.deliver.settle import Settler
from hub.deliver.suspicion import Suspicion, used_up
from hub.deliver.telling import tell_all
from hub.deliver.work import Work
from hub.errors import RetryableError, StoreUnavailableError
from hub.ledger import Account
from hub.ownership.holding import Holding
from hub.ownership.turns import in_turn
from hub.signal import LaneSignal, is_set_within
from hub.spacing import Spacing
from hub.store import tables as t
from hub.store.store import SHARED_S_MAX, sqlstate, unavailable

LANES_PER_BATCH = 256
SWEEP_S_MAX = 5.0
VAIN_SHARE = 2
"""Looks in vain past a large backlog that stands still may take one part of the time in so many more."""
CALLS_MAX = 256
"""Deliveries of one process that may be talking to providers at once, whichever; each provider has its own bound."""
LIMIT_MIN = 20
PAUSE_S_FIRST = 0.1
PAUSE_S_MAX = 5.0

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Round:
    """What one transaction of the worker did."""

    result: BatchResult = field(default_factory=BatchResult)
    works: list[Work] = field(default_factory=list)
    is_more: bool = False
    """Another look at these lanes may find what can run now. What comes meanwhile is told by its own signal."""
    suspected: frozenset[int] = frozenset()
    """Lanes of suspects that may run now, and did not: their attempts are counted first."""


class Worker:
    """Delivers the lanes of a holding, which may change at any time, until it is told to stop."""

    def __init__(
        self,
        around: Surroundings,
        rules: Callable[[], Rules],
        holding: Holding,
        *,
        to_deliver: LaneSignal,
        to_publish: LaneSignal,
        batch_size: int = 100,
        sweep_s: float = 0.5,
        calls_max: int = CALLS_MAX,
    ) -> None:
        self._around = around
        self._rules = rules
        self._holding = holding
        self._fence_in_turn = in_turn(holding.fence, holding.kind)
        self._suspects = holding.suspects
        self._suspicion = Suspicion(holding.suspects)
        self._to_deliver = to_deliver
        self._to_publish = to_publish
        self._batch_size = batch_size
        self._limit = batch_size
        """How many are read for the next batch: of those for which there is no time, nothing need be read."""
        self._turn_of_kinds = 0
        self._spacing = Spacing()
        self._may_share = True
        """The last batch took no longer than others may wait for a commit."""
        self._sweep_s = sweep_s
        self._runner = BatchRunner(around)
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._last: list[Work] = []
        self._is_leaving = False
        self._vain_s = 0.0
        self.callers = Callers(around, rules, holding, to_deliver, to_publish, calls_max=calls_max)
        # One batch at a time, so that a lane can be handed over when the batch that may hold it has ended.
        self._turn = asyncio.Lock()
        holding.hands = self

    async def run(self) -> None:
        """Deliver until ``stop``. Raises FencedError when another worker has taken over."""
        try:
            await self._loop()
        finally:
            self._around.pace.tell(is_behind=False)
            self._ended.set()

    async def _loop(self) -> None:
        pause_s = 0.0
        next_sweep = 0.0
        while not self._stopping.is_set():
            try:
                if self._around.clock.monotonic() >= next_sweep:
                    async with self._turn:
                        await give_back_lost_calls(
                            self._around.store, self._around.clock, self._holding, self.callers.in_flight
                        )
                    await self._sweep()
                    rest_s = min(SWEEP_S_MAX, VAIN_SHARE * self._vain_s)
                    next_sweep = self._around.clock.monotonic() + max(self._sweep_s, rest_s)
                    self._vain_s = 0.0
                if self._to_deliver:
                    await self._spacing.wait()
                    if not self._stopping.is_set():
                        await self._deliver_some()
                else:
                    await self._to_deliver.wait(max(0.0, next_sweep - self._around.clock.monotonic()))
                pause_s = 0.0
            except StoreUnavailableError as error:
                pause_s = min(PAUSE_S_MAX, max(PAUSE_S_FIRST, pause_s * 2))
                self._around.pace.tell(is_behind=False)
                log.warning("delivery_paused", error=str(error), pause_s=pause_s)
                await is_set_within(self._stopping, pause_s)

    def stop(self) -> None:
        """Take nothing new; what is in hand comes to its end."""
        self._stopping.set()
        self._to_deliver.wake()

    async def ended(self, timeout_s: float) -> None:
        """Until the loop has ended, or the time is over."""
        if not await is_set_within(self._ended, timeout_s):
            log.warning("worker_cut", timeout_s=timeout_s)

    async def let_go(self, lanes: frozenset[int]) -> frozenset[int]:
        """Which of these lanes, which are no longer taken, have nothing in hand once the batch under way has ended."""
        async with self._turn:
            return lanes - self.callers.lanes

    async def _sweep(self) -> None:
        await self._around.flow.tell_untold()
        async with self._around.store.reading() as conn:
            await self._around.flow.look(conn)
            lanes = await lanes_with_work(conn, sorted(self._holding.lanes), self._around.clock.now())
        self._around.flow.workers = self._holding.workers
        self._to_deliver.again(lanes)

    async def _deliver_some(self) -> None:
        async with self._turn:
            lanes = [lane for lane in self._to_deliver.take(LANES_PER_BATCH) if lane in self._holding.lanes]
            if lanes:
                await self._deliver(lanes)

    async def _deliver(self, lanes: Sequence[int]) -> None:
        """One batch of these lanes. They are looked at again where something of theirs may be left that can run."""
        begun_s = self._around.clock.monotonic()
        self._turn_of_kinds += 1
        try:
            done = await self._round(lanes)
        except FlushError as error:
            log.warning("batch_halved", cause=type(error.cause).__name__, deliveries=len(self._last))
            try:
                await run_all_but_the_culprits(
                    partial(self._run_part, lanes), Unwritable([work.id for work in self._last], error)
                )
            finally:
                self._to_deliver.again(lanes)
            return
        except StoreUnavailableError:
            self._to_deliver.again(lanes)
            raise
        self._after(done)
        # A full batch: what was left for the next one is more than can be told.
        self._around.pace.tell(is_behind=len(done.works) >= self._limit)
        self._spacing.ended(len(done.works), is_more=done.is_more)
        if done.is_more:
            self._to_deliver.again(lanes)
        elif self._is_leaving and not done.works:
            self._vain_s += self._around.clock.monotonic() - begun_s

    async def _run_part(
        self, lanes: Sequence[int], ids: Sequence[int], refused: FlushError | None
    ) -> Unwritable | None:
        try:
            self._after(await self._round(lanes, only=set(ids), refused=refused))
        except FlushError as error:
            if refused is not None:
                raise
            return Unwritable([work.id for work in self._last], error)
        return None

    async def _round(
        self, lanes: Sequence[int], *, only: set[int] | None = None, refused: FlushError | None = None
    ) -> _Round:
        """One transaction. ``only`` these deliveries; with ``refused``, write their failure instead of running them."""
        rules = self._rules()
        settler = Settler(self._around.clock, rules.routes_by_id)
        self._runner.slot = self._holding.slot
        counted = await self._count_suspects(lanes, only)

        lock_first: tuple[Account, ...] = ()
        kept: list[int] = []

        async def work(conn: AsyncConnection) -> _Round:
            nonlocal lock_first
            self._forget_messages(kept)
            now, leave = self._around.clock.now(), self._routes_to_leave(rules, lanes)
            picked = await pick(
                conn,
                lanes,
                limit=self._limit if only is None else self._batch_size,
                now=now,
                leave=leave,
                targets=rules.targets_of,
                recent=self._around.recent_events,
                turn=self._turn_of_kinds,
            )
            self._around.pace.took()
            works = self._within_call_bounds(self._chosen(picked.works, only, counted), rules)
            self._last = works
            if refused is not None:
                result = BatchResult(attempts=[single_failure(one, refused, now) for one in works])
            elif deadly := used_up(works, counted, rules):
                killed = FlushError(RuntimeError("the process ended each time while this ran"))
                result = BatchResult(attempts=[single_failure(one, killed, now) for one in deadly])
            else:
                # A search for the one at fault runs its parts whole: the next part stands behind what would be cut.
                may_cut = not counted and only is None
                try:
                    result = await self._runner.run(conn, works, rules, lock_first=lock_first, may_cut=may_cut)
                finally:
                    # Only a run again, after a deadlock, sees this: it locks in order what the first run met.
                    lock_first = self._runner.touched
            self._adapt(result)
            waits = picked.waits.except_behind(chains_not_run(picked, result))
            settling = settler.settle(conn, result.attempts, chains_that_go_on(picked, result), waits)
            await _settled(settling, may_be_blamed=bool(result.attempts) and refused is None)
            if self._around.store.dialect == "postgresql":
                self._keep_messages(result.messages, kept)
            suspected = self._suspicion.met_among(picked.works)
            is_held_up = not suspected <= self._suspicion.lanes
            is_more = is_held_up or picked.is_worth_another_look or may_have_left(picked, result)
            return _Round(result, works, is_more, suspected)

        done = await self._committed(work, kept, is_refusal=refused is not None)
        if self._around.store.dialect == "sqlite":
            # There the numbers of what is undone are drawn again by others, before it is run again: a message kept
            # before its commit would be sent in the place of theirs.
            self._keep_messages(done.result.messages, kept)
        self._suspicion.saw(lanes, done.suspected)
        return done

    async def _committed(
        self, work: Callable[[AsyncConnection], Awaitable[_Round]], kept: list[int], *, is_refusal: bool
    ) -> _Round:
        """Run a round's transaction. Raises FlushError where the database ended it because nothing happened in it.

        It says so in words at best, and all of it again would end alike where this machine has no time for it.
        """
        self._last, begun_s, spent_s = [], time.perf_counter(), math.inf

        async def timed(conn: AsyncConnection) -> _Round:
            nonlocal spent_s
            work_begun_s, spent_s = time.perf_counter(), math.inf
            done = await work(conn)
            spent_s = time.perf_counter() - work_begun_s
            return done

        try:
            return await self._around.store.write(timed, fence=self._fence_in_turn, may_share=self._may_share)
        except BaseException as error:
            self._forget_messages(kept)
            if not isinstance(error, StoreUnavailableError):
                raise
            if is_refusal or not self._last or time.perf_counter() - begun_s < self._holding.fence.idle_s:
                raise
            self._limit = max(1, len(self._last) // 2)
            raise FlushError(
                RetryableError("its transaction was ended: nothing happened in it for too long")
            ) from error
        finally:
            self._may_share = spent_s < SHARED_S_MAX

    def _adapt(self, result: BatchResult) -> None:
        if result.left:
            self._limit = min(self._batch_size, max(LIMIT_MIN, 2 * len(result.attempts)))
        elif len(result.attempts) >= self._limit:
            self._limit = min(self._batch_size, 2 * self._limit)

    def _chosen(self, works: list[Work], only: set[int] | None, counted: frozenset[int]) -> list[Work]:
        """Those of the picked deliveries that run now."""
        if only is not None:
            return [one for one in works if one.id in only]
        return self._suspicion.chosen(works, counted)

    def _routes_to_leave(self, rules: Rules, lanes: Iterable[int]) -> frozenset[int]:
        """Routes that stand still or whose provider has no room: they are not even read, others stand behind them."""
        full = {one for one, spec in rules.calling.items() if self.callers.room_for(spec) <= 0}
        if full:
            self.callers.leave_unread(lanes)
        left = frozenset(full | rules.called(self._around.flow.paused_routes))
        self._is_leaving = bool(left)
        return left

    def _within_call_bounds(self, works: list[Work], rules: Rules) -> list[Work]:
        """Leave out what calls a provider when as many calls as allowed are out; it stays where it is.

        Places go by priority, then in order: several may have become free at once.
        """
        calling = [one for one in works if one.route_id in rules.calling]
        begun: Counter[str | None] = Counter()
        left_out: set[int] = set()
        for one in sorted(calling, key=lambda one: rules.calling[one.route_id].priority):
            spec = rules.calling[one.route_id]
            if min(self.callers.room - begun.total(), self.callers.room_for(spec) - begun[spec.provider]) > 0:
                begun[spec.provider] += 1
            else:
                left_out.add(one.id)
                self.callers.leave_out([one.lane])
        return [one for one in works if one.id not in left_out]

    async def _count_suspects(self, lanes: Sequence[int], only: set[int] | None) -> frozenset[int]:
        """After an unclean take-over: count the attempts of suspects before they run, in case one kills again."""
        if only is not None or not self._suspicion.is_up_in(lanes):
            return frozenset()

        async def work(conn: AsyncConnection) -> frozenset[int]:
            now, rules = self._around.clock.now(), self._rules()
            leave = self._routes_to_leave(rules, lanes)
            # No more than the batch will take: what is counted must run before the next process may end.
            limit, turn = self._limit, self._turn_of_kinds
            picked = await pick(conn, lanes, limit=limit, now=now, leave=leave, targets=rules.targets_of, turn=turn)
            await picked.waits.except_behind({one.chain for one in picked.works}).write(conn)
            runs = self._within_call_bounds(self._suspicion.together(picked.works), rules)
            together = frozenset(one.id for one in runs)
            if together:
                those = update(t.deliveries).where(t.deliveries.c.id.in_(together))
                await conn.execute(those.values(attempts=t.deliveries.c.attempts + 1))
            return together

        counted = await self._around.store.write(work, fence=self._holding.fence)
        self._suspicion.forget(counted)
        return counted

    def _after(self, done: _Round) -> None:
        """Tell those who wait, now that it is committed."""
        result = done.result
        self._to_deliver.add(event.lane for event in result.emitted)
        self._to_publish.add(result.published)
        tell_all(result.attempts, self._rules())
        for one in result.calling:
            self.callers.start(one)

    def _keep_messages(self, messages: Sequence[tuple[int, OutgoingMessage]], kept: list[int]) -> None:
        """For the relay, which would read them back; on a server before the commit: it may see them before we hear."""
        destinations = self._around.destinations()
        for number, message in messages:
            destination = destinations.get(message.destination)
            if destination is not None:
                outbound = message.outbound(destination.exchange_name)
                self._around.recent_messages.keep(number, outbound, payload=message.payload)
                kept.append(number)

    def _forget_messages(self, kept: list[int]) -> None:
        self._around.recent_messages.forget(kept)
        kept.clear()


async def _settled(settling: Awaitable[None], *, may_be_blamed: bool) -> None:
    """Write the endings; where a handler has hidden that its transaction is lost, it shows here at the latest."""
    try:
        await settling
    except DBAPIError as error:
        if not may_be_blamed or sqlstate(error)[:2] == "40" or unavailable(error) is not None:
            raise
        raise FlushError(error) from error
