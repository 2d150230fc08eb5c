"""One provider as a process sees it: whose turn it is to call, and whether it answers at all.

Turns go by priority, then in order. A place is for the call alone: what waits for one gets ready meanwhile, what waits
for the rate does not. What cannot have a turn soon is told so with a BusyError: no attempt is used up, and its chain
waits.
Source: docs/operations.md, "Flow control".
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Final, TypeAlias

import structlog

from hub.calls.outcome import Unknown
from hub.errors import BusyError, RetryableError, StoreUnavailableError, UnreachableError
from hub.flow import metrics
from hub.flow.bucket import Bucket
from hub.flow.circuit import Circuit
from hub.flow.priority import Priority, room_for
from hub.flow.turn import Turn
from hub.routing.flow import CircuitConfig, ProviderConfig, RateConfig

if TYPE_CHECKING:
    from hub.flow.flow import Flow

TURN_S_MAX: Final = 30.0
"""How long a call waits for its turn, inside its handler's own time; then its delivery is put off."""
AHEAD_S: Final = 2.0
"""A rate lets so many seconds' worth of deliveries begin: more would only wait with their handlers' time running."""
BESIDE_SHARE: Final = 1.0
"""So many deliveries may be in hand beside those that can call, as a part of these; one at least.

Before and after its call a delivery needs some time of its own. At a provider that takes as long as that, this share is
what keeps every place in use."""
BESIDE_FEW: Final = 8
"""Up to so many it may be twice the share: where places are few, one that stands empty counts."""
BESIDE_SHARE_OF_OTHERS: Final = 0.25
"""The same for what does not move money: were as many of those in hand, they would have most of the places."""
PAUSED_LOOK_S: Final = 5.0
"""When a delivery that met a pause on its way is looked at again."""
PROBED_LOOK_S: Final = 1.0
SHARED_S_MIN: Final = 1.0
"""A shorter wait is this process's own affair: it would be over before the others hear of it."""

Ahead: TypeAlias = Callable[[], Awaitable[None]]
"""What a call can do while it waits for its place."""

log = structlog.get_logger(__name__)


class Provider:
    """The bounds of one provider in this process. One loop's affair: nothing here is safe for threads."""

    def __init__(self, name: str, flow: Flow, config: Callable[[], ProviderConfig]) -> None:
        self.name = name
        self._flow = flow
        self._config = config
        self._waiting: list[tuple[Priority, int, asyncio.Future[None]]] = []
        self._numbers = count()
        self._wakeup: asyncio.TimerHandle | None = None
        self._bucket: tuple[RateConfig, Bucket] | None = None
        self._circuit: tuple[CircuitConfig, Circuit] | None = None
        self._quiet_until_s = -math.inf
        self._calls = 0
        self.in_hand = 0
        """Deliveries whose handlers run; they make the calls."""

    def room(self, priority: Priority) -> int:
        """How many more deliveries of this priority may begin."""
        if self._flow.pause_of("provider", self.name) is not None or self._quiet_s > 0:
            return 0
        if self._is_half_open:
            return 1 - self.in_hand
        most = room_for(self._in_hand_max(priority), priority)
        if priority is not Priority.MONEY:
            # Those that get ready beside the calls would take the last place of few: one is kept for money.
            most = min(most, max(1, self._calls_max - 1))
        return most - self.in_hand

    @asynccontextmanager
    async def turn(self, priority: Priority, *, ahead: Ahead | None = None) -> AsyncIterator[Turn]:
        """Wait for the turn to call, and learn from how the call ends.

        ``ahead`` is awaited meanwhile where others have all the places, and only then. Raises what it raises, and
        BusyError when the provider stands still or has no room; nothing was sent then.
        """
        turn = await self._begin(priority, ahead)
        try:
            yield turn
        finally:
            turn.over()
            await self._learn(turn)

    async def _begin(self, priority: Priority, ahead: Ahead | None) -> Turn:
        started_s = time.perf_counter()
        try:
            await self._take(priority, ahead)
            try:
                turn = Turn(self._give_back, is_probe=await self._may_pass())
            except BaseException:
                self._give_back()
                raise
        except BusyError:
            metrics.PROVIDER_CALLS.labels(self.name, "turned_away").inc()
            raise
        metrics.PROVIDER_WAIT_SECONDS.labels(self.name).observe(time.perf_counter() - started_s)
        return turn

    async def pause(self, for_s: float, *, by: str, reason: str) -> None:
        """Let nobody call it for a time, in any process. Raises StoreUnavailableError."""
        await self._flow.pause("provider", self.name, "handler", by=by, reason=reason, for_s=for_s)

    def forget(self) -> None:
        """It answers again, as another process has found."""
        if self._circuit is not None:
            self._circuit[1].forget()

    @property
    def _is_half_open(self) -> bool:
        # Of a circuit that has been taken out of the rules, only the time that it is still open counts.
        return self._config().circuit is not None and self._flow.is_half_open("provider", self.name)

    @property
    def _share(self) -> float:
        return 1.0 / max(1, self._flow.workers)

    @property
    def _calls_max(self) -> int:
        return max(1, int(self._config().in_flight * self._share))

    def _in_hand_max(self, priority: Priority) -> int:
        bucket, calls_max = self._rate(), self._calls_max
        share = BESIDE_SHARE if priority is Priority.MONEY else BESIDE_SHARE_OF_OTHERS
        # Some get ready and some write their end while the others call: else each call's place would wait for both.
        beside = int(share * calls_max)
        if priority is Priority.MONEY:
            beside = max(beside, min(2 * beside, BESIDE_FEW))
        most = calls_max + max(1, beside)
        return most if bucket is None else min(most, max(1, math.ceil(AHEAD_S * bucket.per_second)))

    @property
    def _quiet_s(self) -> float:
        return max(0.0, self._quiet_until_s - self._flow.clock.monotonic())

    def _rate(self) -> Bucket | None:
        rate, now_s = self._config().rate, self._flow.clock.monotonic()
        if rate is None:
            self._bucket = None
            return None
        if self._bucket is None or self._bucket[0] != rate:
            self._bucket = rate, Bucket(rate.per_second, rate.burst_size, now_s=now_s, share=self._share)
        self._bucket[1].set_share(self._share, now_s=now_s)
        return self._bucket[1]

    async def _take(self, priority: Priority, ahead: Ahead | None = None) -> None:
        """Wait for the turn. Whoever is cancelled at the moment it comes gives it back."""
        self._refuse_while_paused()
        turn = asyncio.get_running_loop().create_future()
        heappush(self._waiting, (priority, next(self._numbers), turn))
        self._hand_out()
        try:
            async with asyncio.timeout(TURN_S_MAX):
                # Those whose turn comes next: what is on record and has not left is in doubt if this process dies.
                comes_next = len(self._waiting) <= max(self._calls_max, BESIDE_FEW)
                if ahead is not None and not turn.done() and comes_next and self._calls >= self._calls_max:
                    await ahead()
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._give_back()
            turn.cancel()
            self._hand_out()
            if isinstance(error, TimeoutError):
                raise _put_off(f"{self.name} has no room: waited {TURN_S_MAX:g} s", TURN_S_MAX) from error
            raise

    def _hand_out(self) -> None:
        """Give turns to those who wait, as far as calls in flight and the rate allow."""
        while self._waiting:
            _, _, turn = self._waiting[0]
            if turn.done():
                heappop(self._waiting)
                continue
            if self._calls >= self._calls_max:
                break
            bucket, now_s = self._rate(), self._flow.clock.monotonic()
            if bucket is not None and not bucket.available(now_s):
                self._wake_in(bucket.wait_s(now_s))
                break
            if bucket is not None:
                bucket.take(now_s=now_s)
            heappop(self._waiting)
            self._calls += 1
            turn.set_result(None)
        self._tell()

    def _wake_in(self, seconds: float) -> None:
        if self._wakeup is None:
            loop = asyncio.get_running_loop()
            self._wakeup = loop.call_later(max(0.001, seconds), self._woken)

    def _woken(self) -> None:
        self._wakeup = None
        self._hand_out()

    def _give_back(self) -> None:
        self._calls -= 1
        self._hand_out()

    def _tell(self) -> None:
        metrics.PROVIDER_IN_FLIGHT.labels(self.name).set(self._calls)
        metrics.PROVIDER_WAITING.labels(self.name).set(len(self._waiting))

    async def _may_pass(self) -> bool:
        """Whether this call is the one that tries a half-open circuit. Raises BusyError for whoever must wait."""
        self._refuse_while_paused()
        circuit = self._config().circuit
        if circuit is None or not self._is_half_open:
            return False
        if not await self._flow.claim_probe("provider", self.name, for_s=circuit.open_s):
            raise _put_off(f"{self.name} does not answer; another process tries it", PROBED_LOOK_S)
        return True

    def _refuse_while_paused(self) -> None:
        pause = self._flow.pause_of("provider", self.name)
        if pause is not None:
            # Not to the end of the pause: while it lasts nothing is begun anyway, and a person may end it before.
            left_s = pause.left_s(self._flow.clock.now())
            raise _put_off(str(pause), PAUSED_LOOK_S if left_s is None else min(left_s, PAUSED_LOOK_S))
        if self._quiet_s > 0:
            raise _put_off(f"{self.name} is busy", self._quiet_s)

    async def _learn(self, turn: Turn) -> None:
        match turn.ending:
            case None:
                return
            case UnreachableError():
                metrics.PROVIDER_CALLS.labels(self.name, "unreachable").inc()
                is_failure = True
            case BusyError() as busy:
                metrics.PROVIDER_CALLS.labels(self.name, "busy").inc()
                if not busy.is_alone:
                    await self._slow_down(busy)
                is_failure = False
            case RetryableError(is_alone=True):
                metrics.PROVIDER_CALLS.labels(self.name, "answered").inc()
                is_failure = False
            case Unknown() | RetryableError():
                metrics.PROVIDER_CALLS.labels(self.name, "unknown").inc()
                is_failure = True
            case _:
                metrics.PROVIDER_CALLS.labels(self.name, "answered").inc()
                is_failure = False
        await self._judge(is_failure=is_failure, is_probe=turn.is_probe)

    async def _slow_down(self, busy: BusyError) -> None:
        """It said *too many*: nobody asks it again before it wants to be asked."""
        if busy.delay_s is None or not 0 < busy.delay_s < math.inf:
            return
        if busy.delay_s < SHARED_S_MIN:
            self._quiet_until_s = max(self._quiet_until_s, self._flow.clock.monotonic() + busy.delay_s)
            return
        try:
            await self._flow.pause("provider", self.name, "busy", by=self.name, reason=str(busy), for_s=busy.delay_s)
        except StoreUnavailableError as error:
            log.warning("busy_not_told", provider=self.name, error=str(error))

    async def _judge(self, *, is_failure: bool, is_probe: bool) -> None:
        config = self._config().circuit
        if config is None:
            return
        if self._circuit is None or self._circuit[0] != config:
            self._circuit = config, Circuit(config.failures, config.window)
        circuit = self._circuit[1]
        is_too_much = circuit.saw(failure=is_failure)
        if is_probe and not is_failure:
            circuit.forget()
            await self._flow.close_circuit("provider", self.name)
        elif is_probe or is_too_much:
            reason = "it still does not answer" if is_probe else f"{circuit.failed} calls had no answer"
            circuit.forget()
            await self._flow.open_circuit("provider", self.name, reason=reason, for_s=config.open_s)


def _put_off(message: str, delay_s: float) -> BusyError:
    # However long it stood still: nobody was asked, so there is nothing for a person to decide.
    return BusyError(message, delay_s=delay_s, within_s=math.inf)
