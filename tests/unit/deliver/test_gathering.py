"""Where others wait for a place, calls that end are gathered: several deliveries then begin in one transaction."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hub.deliver import caller
from hub.deliver.caller import LANES_PER_END, Callers
from hub.deliver.work import Work
from hub.deliver.worker import Worker
from hub.flow.priority import Priority
from hub.signal import LaneSignal
from tests.support.clock import SettableClock
from tests.support.patience import until
from tests.unit.deliver.test_endings import a_work
from tests.unit.flow.test_turns import provider_of

WAITING = range(100, 200)


class Calls:
    """Three calls under way in lanes 1 to 3; each ends when it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ends = [asyncio.Event() for _ in range(3)]
        self.signal = LaneSignal()
        monkeypatch.setattr(Callers, "_run", lambda _, work: self._run(work))
        rules: Any = SimpleNamespace(handler_of=lambda _: None)
        holding: Any = SimpleNamespace(fence=None, slot=0)
        around = cast(Any, None)
        self.callers = Callers(around, lambda: rules, holding, self.signal, LaneSignal(), calls_max=3)
        for lane in (1, 2, 3):
            self.callers.start(a_work(id=lane, lane=lane))

    async def _run(self, work: Work) -> None:
        await self.ends[work.lane - 1].wait()

    async def end(self, *lanes: int) -> None:
        for lane in lanes:
            self.ends[lane - 1].set()
        await until(lambda: self.callers.lanes.isdisjoint(lanes))


async def test_calls_that_end_while_others_wait_for_a_place_are_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caller, "GATHER_S_MAX", 3_600.0)
    monkeypatch.setattr(caller, "GATHER_SHARE", float("inf"))
    calls = Calls(monkeypatch)
    calls.callers.leave_out(WAITING)

    await calls.end(1, 2)
    assert not calls.signal

    # Nothing is under way any more: whom should they wait for?
    await calls.end(3)
    assert calls.signal.take(64) == [1, 2, 3, *WAITING[: 3 * LANES_PER_END]]
    assert not calls.signal


def test_places_that_became_free_at_once_go_by_priority(clock: SettableClock) -> None:
    # Two may call, and twice as many for money get ready beside them.
    provider = provider_of(clock, in_flight=2)
    around: Any = SimpleNamespace(flow=SimpleNamespace(provider=lambda _: provider))
    holding: Any = SimpleNamespace(fence=None, slot=0)
    specs = {1: Priority.SWEEP, 2: Priority.MONEY}
    rules: Any = SimpleNamespace(
        calling={route: SimpleNamespace(provider="bank", priority=priority) for route, priority in specs.items()}
    )
    callers = Callers(around, lambda: rules, holding, LaneSignal(), LaneSignal(), calls_max=256)
    worker: Any = SimpleNamespace(callers=callers)
    works = [a_work(id=n, chain=n, lane=n, route_id=route) for n, route in enumerate((1, 1, 2, 2, 3, 2, 2, 2, 2, 2))]

    begin = Worker._within_call_bounds(worker, works, rules)

    # The one of another route calls nobody.
    assert [one.id for one in begin] == [2, 3, 4, 5, 6, 7, 8]
    assert sorted(callers._left_out) == [0, 1, 9]


async def test_lanes_that_were_not_read_come_after_those_that_are_known_to_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = Calls(monkeypatch)
    calls.callers.leave_unread(range(200, 256))
    calls.callers.leave_out([100])

    await calls.end(1)
    await until(lambda: bool(calls.signal))
    assert calls.signal.take(256) == [1, 100]

    # Nobody is known to wait: looked through a few at a time, most of them in vain, the place would stay empty.
    await calls.end(2)
    await until(lambda: bool(calls.signal))
    assert calls.signal.take(256) == [2, *range(200, 256)]
    await calls.end(3)


async def test_they_are_gathered_for_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch)
    calls.callers.leave_out(WAITING)

    await calls.end(1)
    await until(lambda: bool(calls.signal))

    assert calls.signal.take(64) == [1, *WAITING[:LANES_PER_END]]
    await calls.end(2, 3)


async def test_where_nobody_waits_for_a_place_the_next_of_the_key_goes_on_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(caller, "GATHER_S_MAX", 3_600.0)
    monkeypatch.setattr(caller, "GATHER_SHARE", float("inf"))
    calls = Calls(monkeypatch)

    await calls.end(1)

    assert calls.signal.take(64) == [1]
    await calls.end(2, 3)
