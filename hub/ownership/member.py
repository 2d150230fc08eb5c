"""One worker among those of a database: it keeps its lease, hands over what is too much and takes its fair share.

Lanes are shared out per kind among the living workers of that kind, at most ⌈256 / workers⌉ each. Nobody gives orders:
every worker looks by itself, ends those that are gone, lets go of its own surplus, and takes what is free. Source:
docs/decisions/0004-ownership.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.clock import Clock
from hub.errors import StoreUnavailableError
from hub.event import LANES
from hub.ownership import rows
from hub.ownership.eviction import PATIENCE_S, end_worker
from hub.ownership.holding import DELIVER, KINDS, Holding, Kind
from hub.ownership.metrics import LANES_OWNED
from hub.ownership.suspects import give_back_calls, in_hand
from hub.ownership.turns import in_turn
from hub.signal import is_set_within
from hub.store.store import IDLE_S_MAX, Fence, Store, Work

LEASE_S = 15.0
LOOK_S = 1.0
HEARTBEATS_PER_LEASE = 3
IDLE_SHARE = 0.8
"""Of a short lease: a fenced transaction that lies idle ends before the lease does."""
LEAVE_S_MAX = 10.0
LET_GO_S_MAX = 5.0
"""How long one look waits for what is in hand; the next look asks again."""

log = structlog.get_logger(__name__)


class Member:
    """A worker. ``join``, then ``run`` until ``stop``; in the end ``leave``, in any case."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        kinds: Sequence[Kind] = KINDS,
        *,
        lease_s: float = LEASE_S,
        look_s: float = LOOK_S,
        on_gain: Callable[[Kind, Sequence[int]], None] = lambda kind, lanes: None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.fence = Fence(clock.new_id(), 1, idle_s=min(IDLE_S_MAX, IDLE_SHARE * lease_s))
        self.holdings: dict[Kind, Holding] = {kind: Holding(kind, self.fence) for kind in kinds}
        self._store = store
        self._clock = clock
        self._lease_s = lease_s
        self._look_s = min(look_s, lease_s / HEARTBEATS_PER_LEASE)
        self._on_gain = on_gain
        self._on_change = on_change
        self._soon = asyncio.Event()
        self._stopping = asyncio.Event()
        self.has_looked = False
        self.is_one_too_many = False
        """There are more workers than lanes, and this one has none."""

    async def join(self) -> None:
        """Be counted among the living. Raises StoreUnavailableError."""

        async def work(conn: AsyncConnection) -> None:
            now = await rows.database_now(conn, self._clock)
            await rows.enter(conn, self.fence, tuple(self.holdings), now, self._lease_s)

        await self._store.write(work)

    async def run(self) -> None:
        """Keep the lease and the balance until ``stop``. Raises FencedError when others took this worker for dead."""
        beating = asyncio.create_task(self._beat(), name="heartbeat")
        balancing = asyncio.create_task(self._balance(), name="balance")
        try:
            await asyncio.wait({beating, balancing}, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task in (beating, balancing):
                task.cancel()
            await asyncio.wait({beating, balancing})
        for task in (beating, balancing):
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    def stop(self) -> None:
        """Give nothing away and take nothing any more."""
        self._stopping.set()
        self._soon.set()

    def look_soon(self) -> None:
        """Something has changed among the workers."""
        self._soon.set()

    async def look(self) -> None:
        """Once: end those that are gone, hand over what is too much, take what is free.

        Raises FencedError when others took this worker for dead, StoreUnavailableError.
        """
        scene = await rows.look(self._store, self._clock)
        for lost, epoch in sorted(scene.lost.items()):
            if lost != self.fence.worker_id:
                await end_worker(self._store, lost, epoch, patience_s=min(PATIENCE_S, self._lease_s))
        for kind, holding in self.holdings.items():
            living = scene.living[kind] | {self.fence.worker_id}
            target = -(-LANES // len(living))
            self.is_one_too_many = len(living) > LANES
            holding.workers = len(living)
            holding.slot = sorted(living).index(self.fence.worker_id)
            await self._hand_over(holding, len(holding.owned) - target)
            is_known = scene.owned.get((kind, self.fence.worker_id), 0) == len(holding.owned)
            if not is_known or (len(holding.owned) < target and scene.has_free(kind)):
                await self._take(holding, target)
            LANES_OWNED.labels(kind=kind).set(len(holding.owned))
        self.has_looked = True

    async def leave(self) -> None:
        """Go in order, when nothing is in hand any more: the lanes are free at once, and nobody need be careful.

        Raises StoreUnavailableError, also when it takes too long: the lanes are free then when the lease is over.
        """
        await self._at_last(lambda conn: rows.leave(conn, self.fence))

    async def walk_out(self) -> None:
        """Go after an error: others need not wait for the lease, but are careful with what was in hand."""

        async def work(conn: AsyncConnection) -> None:
            await rows.end_lease(conn, self.fence, await rows.database_now(conn, self._clock))

        await self._at_last(work, fence=self.fence)

    async def _at_last(self, work: Work[None], *, fence: Fence | None = None) -> None:
        """Nobody waits for a database that says no word: the process is about to end."""
        try:
            async with asyncio.timeout(LEAVE_S_MAX):
                await self._store.write(work, fence=fence)
        except TimeoutError as error:
            raise StoreUnavailableError(f"the database did not answer within {LEAVE_S_MAX:g} s") from error

    async def renew(self) -> None:
        """Say that this worker lives. Raises FencedError when it was taken for dead."""

        async def work(conn: AsyncConnection) -> None:
            until = await rows.database_now(conn, self._clock) + timedelta(seconds=self._lease_s)
            await rows.renew(conn, self.fence, until)

        # By a connection of its own: a worker whose handlers have all the others in hand lives.
        await self._store.write(work, is_heartbeat=True)

    async def _beat(self) -> None:
        while not self._stopping.is_set():
            try:
                await self.renew()
            except StoreUnavailableError as error:
                log.warning("heartbeat_missed", error=str(error))
            await is_set_within(self._stopping, self._lease_s / HEARTBEATS_PER_LEASE)

    async def _balance(self) -> None:
        while not self._stopping.is_set():
            self._soon.clear()
            try:
                await self.look()
            except StoreUnavailableError as error:
                log.warning("lanes_not_balanced", error=str(error))
            if not self._stopping.is_set():
                await is_set_within(self._soon, self._look_s)

    async def _hand_over(self, holding: Holding, surplus: int) -> None:
        """Begin nothing new in as many lanes as are too much, and free those of them in which nothing is in hand."""
        was_leaving = holding.leaving
        leaving = holding.part_with(surplus)
        if came_back := was_leaving - leaving:
            self._on_gain(holding.kind, sorted(came_back))
        if not leaving:
            return
        quiet = leaving
        if holding.hands is not None:
            try:
                async with asyncio.timeout(LET_GO_S_MAX):
                    quiet = await holding.hands.let_go(leaving)
            except TimeoutError:
                return
        if quiet:
            await self._free(holding, quiet)

    async def _free(self, holding: Holding, lanes: frozenset[int]) -> None:
        async def work(conn: AsyncConnection) -> None:
            await rows.free(conn, holding.kind, self.fence.worker_id, lanes)

        # Forgotten first: when the commit is not heard of, they may be another's. If they are not, the next look sees.
        holding.lose(lanes)
        await self._store.write(work, fence=in_turn(self.fence, holding.kind))
        log.info("lanes_handed_over", kind=holding.kind, lanes=len(lanes), left=len(holding.owned))
        self._on_change()

    async def _take(self, holding: Holding, target: int) -> None:
        async def work(conn: AsyncConnection) -> tuple[rows.Taken, dict[int, int]]:
            taken = await rows.take(conn, holding.kind, self.fence.worker_id, target, holding.owned)
            if holding.kind != DELIVER or not taken.gained:
                return taken, {}
            now = await rows.database_now(conn, self._clock)
            # By the later of both clocks: deliveries are due by this machine's, leases by the database's.
            suspects = await in_hand(conn, taken.careful, max(now, self._clock.now()))
            await give_back_calls(conn, taken.gained, now)
            return taken, suspects

        taken, suspects = await self._store.write(work, fence=in_turn(self.fence, holding.kind))
        holding.lose(holding.owned - taken.all)
        if taken.gained:
            holding.gain(taken.gained, suspects)
            log.info("lanes_taken", kind=holding.kind, lanes=len(taken.gained), suspects=len(suspects))
            self._on_gain(holding.kind, taken.gained)
