"""This process's share of the work: it joins the workers of its database, and delivers and relays the lanes it gets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import structlog

from hub.capability import CheckResult
from hub.deliver.context import Surroundings
from hub.deliver.registry import Rules
from hub.deliver.worker import Worker
from hub.errors import StoreUnavailableError
from hub.event import LANES
from hub.outbox.relay import Relay
from hub.ownership.holding import DELIVER, RELAY, Holding, Kind
from hub.ownership.member import Member
from hub.routing.config import DestinationConfig
from hub.settings import Settings
from hub.signal import ANY_LANE, LaneSignal, is_set_within
from hub.store.store import FencedError
from hub.transports import Transport

JOIN_RETRY_S = 1.0
AFTER_CALLS_S = 10.0
"""What a stop keeps of its deadline for what comes after the calls in flight."""
KIND_OF_ROLE: Mapping[str, Kind] = {"worker": DELIVER, "relay": RELAY}

log = structlog.get_logger(__name__)


class Owner:
    """Runs the delivering and the relaying of one process, under one fence after another.

    A process that was paused for longer than its lease finds itself fenced off: it leaves everything to its successor
    and joins again as a new worker.
    """

    def __init__(
        self,
        around: Surroundings,
        rules: Callable[[], Rules],
        transport: Transport,
        destinations: Callable[[], Mapping[str, DestinationConfig]],
        settings: Settings,
        *,
        roles: Sequence[str],
        to_deliver: LaneSignal,
        to_publish: LaneSignal,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._around = around
        self._rules = rules
        self._transport = transport
        self._destinations = destinations
        self._settings = settings
        self._kinds = tuple(kind for role, kind in KIND_OF_ROLE.items() if role in roles)
        self._signals = {DELIVER: to_deliver, RELAY: to_publish}
        self._on_change = on_change
        self._stopping = asyncio.Event()
        self.member: Member | None = None
        self.worker: Worker | None = None
        self.relay: Relay | None = None

    async def run(self) -> None:
        """Work until ``stop``. Raises whatever ends a loop, other than being fenced off."""
        while not self._stopping.is_set():
            try:
                await self._life()
            except* FencedError as fenced:
                log.warning("worker_fenced", reason=str(fenced.exceptions[0]))
                if self.worker is not None:
                    # Nothing of theirs can be written any more; the successor asks about calls that are out.
                    await self.worker.callers.finish(0.0)

    def owned(self, kind: Kind) -> frozenset[int]:
        """The lanes of this kind that this process may work on at this moment."""
        holding = self.member.holdings.get(kind) if self.member is not None else None
        return holding.lanes if holding is not None else frozenset()

    def is_ours(self, kind: Kind, lane: int) -> bool:
        """Whether this process may work on this lane; of ANY_LANE, on all of them."""
        owned = self.owned(kind)
        return lane in owned or (lane == ANY_LANE and len(owned) == LANES)

    def look_soon(self) -> None:
        """Something has changed among the workers."""
        if self.member is not None:
            self.member.look_soon()

    def check(self) -> CheckResult:
        """Ready once there is nothing to wait for: lanes of each kind, or so many workers that some have none."""
        member = self.member
        if member is None or not member.has_looked:
            return CheckResult("lanes", ok=False, detail="awaited")
        counts = {kind: len(holding.owned) for kind, holding in member.holdings.items()}
        words = ", ".join(f"{kind} {count} of {LANES}" for kind, count in counts.items())
        return CheckResult("lanes", ok=all(counts.values()) or member.is_one_too_many, detail=words)

    async def stop(self, left_s: Callable[[], float]) -> None:
        """Take nothing new and finish what is in hand.

        Calls in flight may take all that is left of the deadline but ``AFTER_CALLS_S``, or half of it where that is
        more; every other step half of what is left then.
        """
        self._stopping.set()
        if self.worker is not None:
            self.worker.stop()
            await self.worker.callers.finish(max(left_s() / 2, left_s() - AFTER_CALLS_S))
            await self.worker.ended(left_s() / 2)
        if self.relay is not None:
            # What the last deliveries caused is sent before the lanes are given up, if the broker lets it.
            await self.relay.drain(left_s() / 2)
            self.relay.stop()
        if self.member is not None:
            self.member.stop()

    async def leave(self, *, in_order: bool) -> None:
        """Give up the lanes, when ``run`` has ended."""
        if self.member is None:
            return
        try:
            # What ended a loop by an error would end the next worker's too: that one has to find the delivery at fault.
            await (self.member.leave() if in_order else self.member.walk_out())
            self._on_change()
        except (StoreUnavailableError, FencedError) as error:
            log.warning("lanes_not_given_up", error=str(error))

    async def _life(self) -> None:
        self.worker = self.relay = None
        self.member = member = Member(
            self._around.store,
            self._around.clock,
            self._kinds,
            lease_s=self._settings.lease_s,
            on_gain=lambda kind, lanes: self._signals[kind].add(lanes),
            on_change=self._on_change,
        )
        await self._join(member)
        if self._stopping.is_set():
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(member.run())
            if (holding := member.holdings.get(DELIVER)) is not None:
                self.worker = self._new_worker(holding)
                group.create_task(self.worker.run())
            if (holding := member.holdings.get(RELAY)) is not None:
                self.relay = self._new_relay(holding)
                group.create_task(self.relay.run())

    async def _join(self, member: Member) -> None:
        while not self._stopping.is_set():
            try:
                await member.join()
                self._on_change()
            except StoreUnavailableError as error:
                log.warning("lanes_awaited", reason=str(error))
                await is_set_within(self._stopping, JOIN_RETRY_S)
            else:
                return

    def _new_worker(self, holding: Holding) -> Worker:
        return Worker(
            self._around,
            self._rules,
            holding,
            to_deliver=self._signals[DELIVER],
            to_publish=self._signals[RELAY],
            batch_size=self._settings.batch_size,
        )

    def _new_relay(self, holding: Holding) -> Relay:
        return Relay(
            self._around.store,
            self._around.clock,
            self._transport,
            self._destinations,
            holding=holding,
            signal=self._signals[RELAY],
            flow=self._around.flow,
            publish_timeout_s=self._settings.publish_timeout_s,
            recent=self._around.recent_messages,
        )
