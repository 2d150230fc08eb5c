"""The laws of order, on random histories: what shares a key succeeds in order of acceptance, and everything ends."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.capability import handler
from hub.deliver.context import Context
from hub.event import Event
from hub.store import tables as t
from hub.store.store import Store
from tests.integration.deliver.workshop import forget_everything, give, message, nothing_is_blocked, route, routing
from tests.support.parts import assemble

KEYS = "abcde"
ROUTES = routing(
    route("one", "run", retry="attempts: 9, first: 1ms, longest: 8ms"),
    route("two", "run", match="x", retry="attempts: 9, first: 1ms, longest: 8ms"),
)
SLOW_TESTS = settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@dataclass(frozen=True)
class Sent:
    """One message of a random history: ``fails`` attempts of it fail on each route."""

    key: str | None
    after: tuple[str, ...] = ()
    type: str = "x"
    fails: int = 0
    pause: bool = False

    @property
    def keys(self) -> set[str]:
        return {key for key in (self.key, *self.after) if key is not None}


@dataclass
class Run:
    """What a handler did, by route."""

    history: list[Sent]
    attempts: dict[tuple[str, int], int] = field(default_factory=dict)
    succeeded: dict[str, list[int]] = field(default_factory=lambda: {"one": [], "two": []})

    async def handle(self, event: Event, ctx: Context) -> None:
        number = event.data["n"]
        attempt = self.attempts[ctx.route, number] = self.attempts.get((ctx.route, number), 0) + 1
        if attempt <= self.history[number].fails:
            raise RuntimeError("not this time")
        self.succeeded[ctx.route].append(number)


plain = st.builds(
    Sent,
    key=st.sampled_from([*KEYS, None]),
    type=st.sampled_from("xy"),
    fails=st.sampled_from([0, 0, 0, 1, 3]),
    pause=st.booleans(),
)
merges = st.builds(
    Sent,
    key=st.sampled_from(KEYS),
    after=st.lists(st.sampled_from(KEYS), max_size=2).map(tuple),
    type=st.just("x"),
    fails=st.sampled_from([0, 0, 1, 2]),
    pause=st.booleans(),
)


async def _play(store: Store, history: list[Sent], batch_size: int) -> Run:
    run = Run(history)

    @handler
    async def handle(event: Event, ctx: Context) -> None:
        await run.handle(event, ctx)

    await forget_everything(store)
    async with assemble(store, ROUTES, {"run": handle}, batch_size=batch_size) as parts:
        for number, sent in enumerate(history):
            body: dict[str, Any] = {"n": number, "after": list(sent.after)}
            await give(parts, message(sent.type, body | ({} if sent.key is None else {"key": sent.key})))
            if sent.pause:
                await asyncio.sleep(0.002)
        await parts.settle()
        await nothing_is_blocked(parts)
        assert await parts.rows(t.barriers) == []
        assert {row.state for row in await parts.deliveries()} <= {"done"}
    return run


def _expect_order(run: Run) -> None:
    for name, succeeded in run.succeeded.items():
        taken = [n for n, sent in enumerate(run.history) if name == "one" or sent.type == "x"]
        assert sorted(succeeded) == taken, "each succeeds exactly once"
        place = {number: index for index, number in enumerate(succeeded)}
        for earlier, later in combinations(taken, 2):
            if run.history[earlier].keys & run.history[later].keys:
                assert place[earlier] < place[later], f"{later} overtook {earlier} on route {name}"


@SLOW_TESTS
@given(history=st.lists(plain, min_size=5, max_size=60), batch_size=st.sampled_from([1, 2, 3, 7, 100]))
async def test_each_keys_deliveries_succeed_in_order_of_acceptance(
    store: Store, history: list[Sent], batch_size: int
) -> None:
    _expect_order(await _play(store, history, batch_size))


@SLOW_TESTS
@given(history=st.lists(plain | merges, min_size=5, max_size=25), batch_size=st.sampled_from([1, 2, 5, 100]))
async def test_a_merge_comes_after_what_was_before_it_on_all_its_keys_and_before_what_came_after(
    store: Store, history: list[Sent], batch_size: int
) -> None:
    _expect_order(await _play(store, history, batch_size))


async def test_merges_in_a_ring_all_finish(store: Store) -> None:
    history = [Sent(KEYS[n % 5], (KEYS[(n + 1) % 5], KEYS[(n + 3) % 5])) for n in range(15)]

    _expect_order(await _play(store, history, 100))
