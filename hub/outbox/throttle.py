"""What each destination takes now: nothing while it stands still, what its rate allows, one while it is tried.

The broker's own absence is the relay's affair (it pauses as a whole); a destination that the broker refuses is left
alone by itself, and the others go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hub.clock import Clock
from hub.flow.bucket import Bucket
from hub.flow.circuit import Circuit
from hub.flow.flow import Flow
from hub.outbox import metrics
from hub.outbox.picker import Head, Picked, Rooms
from hub.ownership.holding import Holding
from hub.routing.config import DestinationConfig
from hub.routing.flow import CircuitConfig, RateConfig
from hub.transports.base import Confirmed, NotConfirmed, PublishResult

PAUSED_LOOK_S = 5.0
"""When to look again at a due chain whose destination stands still, where nobody knows for how long."""
LOOK_S_MIN = 0.1
"""How long a paced destination is left alone at least, so that what its rate allows meanwhile goes together."""
NEVER_S = float("inf")


@dataclass(slots=True)
class _Measures:
    """What this relay has counted of one destination."""

    rate: RateConfig | None = None
    bucket: Bucket | None = None
    held_until_s: float = -NEVER_S
    """Until then nothing goes, although one might: what goes together shares a transaction."""
    circuit_config: CircuitConfig | None = None
    circuit: Circuit = field(default_factory=lambda: Circuit(1, 1))


class Throttle:
    """The bounds of one relay's destinations. ``rooms`` before a round, ``took`` in it and ``learn`` after it."""

    def __init__(self, flow: Flow, clock: Clock, holding: Holding) -> None:
        self._flow = flow
        self._clock = clock
        self._holding = holding
        self._measures: dict[str, _Measures] = {}
        self._held: set[int] = set()
        self._held_until_s = NEVER_S
        self._closed_until_s = NEVER_S
        """When the first of those takes something that took nothing in this round because of their rates."""

    def rooms(self, destinations: Mapping[str, DestinationConfig]) -> Rooms:
        """How many messages each destination takes now, for those that take less than they otherwise may."""
        now_s = self._clock.monotonic()
        rooms, self._closed_until_s = Rooms(), NEVER_S
        for name, config in destinations.items():
            pause = self._flow.pause_of("destination", name)
            if pause is not None:
                left_s = pause.left_s(self._clock.now())
                # Rarely, but never for long: a person may end it at any time.
                rooms.put(name, 0, PAUSED_LOOK_S if left_s is None else min(PAUSED_LOOK_S, max(LOOK_S_MIN, left_s)))
                continue
            if config.circuit is not None and self._flow.is_half_open("destination", name):
                rooms.put(name, 1, LOOK_S_MIN)
            bucket = self._bucket(name, config.rate, now_s)
            if bucket is not None:
                held_until_s = self._measures[name].held_until_s
                room = bucket.available(now_s) if now_s >= held_until_s else 0
                rooms.put(name, room, max(LOOK_S_MIN, bucket.wait_s(now_s)))
                if not room:
                    until_s = max(held_until_s, now_s + bucket.wait_s(now_s))
                    self._closed_until_s = min(self._closed_until_s, until_s)
        return rooms

    def took(self, picked: Picked, lanes: Iterable[int]) -> None:
        """These go now, of these lanes. The lanes of what had to stay are looked at when the next may go."""
        now_s = self._clock.monotonic()
        for head in picked.heads:
            measures = self._measures.get(head.destination)
            if measures is not None and measures.bucket is not None:
                measures.bucket.take(now_s=now_s)
        self._hold(picked.held, now_s)
        if self._closed_until_s < NEVER_S:
            # What there was for those that took nothing was not even read, and may be in any of them.
            self._held.update(lanes)
            self._held_until_s = min(self._held_until_s, self._closed_until_s)

    def due_lanes(self) -> set[int]:
        """Lanes with messages that had to stay and may go now."""
        if self._clock.monotonic() < self._held_until_s:
            return set()
        held, self._held, self._held_until_s = self._held, set(), NEVER_S
        return held

    @property
    def wait_s(self) -> float:
        """Seconds until lanes are due again; infinite where none is held."""
        return max(0.0, self._held_until_s - self._clock.monotonic())

    async def learn(
        self, picked: Picked, results: Mapping[int, PublishResult], destinations: Mapping[str, DestinationConfig]
    ) -> None:
        """See whom the broker refuses: too often, and its circuit opens; the first that goes closes it."""
        for head in picked.heads:
            config = destinations.get(head.destination)
            if config is None or config.circuit is None:
                continue
            match results.get(head.seq):
                case NotConfirmed(reason, was_tried=True):
                    await self._saw(head.destination, config.circuit, refusal=reason)
                case Confirmed():
                    await self._saw(head.destination, config.circuit, refusal=None)

    async def _saw(self, name: str, config: CircuitConfig, *, refusal: str | None) -> None:
        measures = self._measures.get(name)
        if measures is None:
            measures = self._measures[name] = _Measures()
        if measures.circuit_config != config:
            measures.circuit_config, measures.circuit = config, Circuit(config.failures, config.window)
        is_probe = self._flow.is_half_open("destination", name)
        is_too_much = measures.circuit.saw(failure=refusal is not None)
        if refusal is None:
            if is_probe:
                measures.circuit.forget()
                await self._flow.close_circuit("destination", name)
        elif is_probe or is_too_much:
            measures.circuit.forget()
            await self._flow.open_circuit("destination", name, reason=refusal, for_s=config.open_s)

    def _bucket(self, name: str, rate: RateConfig | None, now_s: float) -> Bucket | None:
        if rate is None:
            if name in self._measures:
                self._measures[name].rate = self._measures[name].bucket = None
                self._measures[name].held_until_s = -NEVER_S
            return None
        measures, share = self._measures.setdefault(name, _Measures()), 1.0 / max(1, self._holding.workers)
        if measures.bucket is None or measures.rate != rate:
            measures.rate = rate
            measures.bucket = Bucket(rate.per_second, rate.burst_size, now_s=now_s, share=share)
        measures.bucket.set_share(share, now_s=now_s)
        return measures.bucket

    def _hold(self, heads: Iterable[Head], now_s: float) -> None:
        for head in heads:
            measures = self._measures.get(head.destination)
            if measures is None or measures.bucket is None:
                continue
            metrics.RATE_LIMITED.labels(destination=head.destination).inc()
            self._held.add(head.lane)
            some = measures.bucket.worth(LOOK_S_MIN)
            measures.held_until_s = now_s + measures.bucket.wait_s(now_s, some)
            self._held_until_s = min(self._held_until_s, measures.held_until_s)
