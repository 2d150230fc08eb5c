"""Turns at a provider: by priority, within this process's part, and never lost by whoever goes away."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from hub.errors import BusyError, RetryableError
from hub.flow.flow import Flow
from hub.flow.priority import Priority
from hub.flow.provider import Provider
from hub.flow.turn import End, Turn, end_of_turn
from hub.routing import ProviderConfig
from hub.store.store import Store
from tests.support.clock import SettableClock


class _NoStore:
    """Nothing of these tests is written."""


def provider_of(clock: SettableClock, *, workers: int = 1, **config: Any) -> Provider:
    configs: Mapping[str, ProviderConfig] = {"bank": ProviderConfig.model_validate(config)}
    flow = Flow(cast(Store, _NoStore()), clock, lambda: configs)
    flow.workers = workers
    return flow.provider("bank")


@asynccontextmanager
async def calling(provider: Provider, *priorities: Priority) -> AsyncIterator[tuple[list[Priority], asyncio.Event]]:
    """So many calls that stay out until they are let go; tells whose turn came, in order."""
    came: list[Priority] = []
    go = asyncio.Event()

    async def call(priority: Priority) -> None:
        async with provider.turn(priority):
            came.append(priority)
            await go.wait()

    tasks = [asyncio.create_task(call(one)) for one in priorities]
    await rest()
    try:
        yield came, go
    finally:
        go.set()
        await asyncio.gather(*tasks, return_exceptions=True)


async def rest() -> None:
    """Let every task go as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_turns_go_by_priority_and_then_in_order(clock: SettableClock) -> None:
    provider = provider_of(clock, in_flight=1)
    waiting = [Priority.SWEEP, Priority.POLL, Priority.READ, Priority.MONEY, Priority.SWEEP]

    async with calling(provider, Priority.READ, *waiting) as (came, go):
        assert came == [Priority.READ]
        go.set()
        await rest()

    assert came == [Priority.READ, *sorted(waiting)]


@pytest.mark.parametrize(("workers", "out"), [(1, 8), (3, 2), (100, 1)])
async def test_a_process_takes_its_part_of_the_calls_in_flight_and_at_least_one(
    clock: SettableClock, workers: int, out: int
) -> None:
    provider = provider_of(clock, workers=workers, in_flight=8)

    async with calling(provider, *[Priority.MONEY] * 10) as (came, _):
        assert len(came) == out
        # Beside them some get ready, or write their end, without a call: more of them where places are few.
        assert provider.room(Priority.MONEY) == out + min(2 * out, 8)


@pytest.mark.parametrize("in_flight", [2, 3, 4, 10])
async def test_reads_never_take_every_place(clock: SettableClock, in_flight: int) -> None:
    """Money, which comes later, would wait for one of them to end."""
    provider = provider_of(clock, in_flight=in_flight)

    provider.in_hand = provider.room(Priority.READ)

    assert 0 < provider.in_hand < in_flight
    assert (provider.room(Priority.READ), provider.room(Priority.MONEY)) == (
        0,
        provider._in_hand_max(Priority.MONEY) - provider.in_hand,
    )


async def test_who_goes_away_while_waiting_or_as_the_turn_comes_takes_none_with_him(clock: SettableClock) -> None:
    provider = provider_of(clock, in_flight=1)
    async with calling(provider, Priority.MONEY) as (_, go):
        waits = [asyncio.create_task(provider._take(Priority.MONEY)) for _ in range(2)]
        await rest()
        waits[0].cancel()
        go.set()
        # The second one's turn comes in this very step of the loop, in which it is cancelled too.
        await asyncio.sleep(0)
        waits[1].cancel()
        await asyncio.gather(*waits, return_exceptions=True)
    await rest()

    async with calling(provider, Priority.MONEY) as (came, _):
        assert came == [Priority.MONEY]


async def test_a_paused_provider_turns_calls_away_at_once(clock: SettableClock) -> None:
    provider = provider_of(clock, in_flight=1)
    provider._quiet_until_s = clock.monotonic() + 5

    with pytest.raises(BusyError) as busy:
        async with provider.turn(Priority.MONEY):
            raise AssertionError("not its turn")

    assert (busy.value.delay_s, provider.room(Priority.MONEY)) == (5, 0)
    assert busy.value.within_s == math.inf, "who was not asked has not failed, however long that lasts"


async def test_a_slow_rate_begins_only_what_will_have_its_turn_soon(clock: SettableClock) -> None:
    provider = provider_of(clock, in_flight=100, rate={"per_second": 3, "burst": 1})

    assert (provider.room(Priority.MONEY), provider.room(Priority.SWEEP)) == (6, 1)


async def test_what_waits_for_a_place_gets_ready_meanwhile_and_what_waits_for_the_rate_does_not(
    clock: SettableClock,
) -> None:
    ready: list[str] = []

    def asks(name: str, provider: Provider) -> asyncio.Task[None]:
        async def gets_ready() -> None:
            ready.append(name)

        async def call() -> None:
            async with provider.turn(Priority.MONEY, ahead=gets_ready):
                ready.append(f"{name} calls")

        return asyncio.create_task(call())

    full = provider_of(clock, in_flight=1)
    slow = provider_of(clock, in_flight=2, rate={"per_second": 1, "burst": 1})
    async with calling(full, Priority.MONEY) as (_, go), calling(slow, Priority.MONEY) as (_, go_on):
        tasks = [asks("full", full), asks("slow", slow)]
        await rest()
        assert ready == ["full"]
        go.set()
        go_on.set()
        await rest()
        assert ready == ["full", "full calls"]
        clock.advance(1)
        slow._hand_out()
        await asyncio.gather(*tasks)

    assert ready == ["full", "full calls", "slow calls"]


async def test_who_cannot_get_ready_takes_no_place(clock: SettableClock) -> None:
    provider = provider_of(clock, in_flight=1)

    async def fails() -> None:
        raise BusyError("no database")

    async with calling(provider, Priority.MONEY):
        with pytest.raises(BusyError, match="no database"):
            async with provider.turn(Priority.MONEY, ahead=fails):
                raise AssertionError("not its turn")

    async with calling(provider, Priority.MONEY) as (came, _):
        assert came == [Priority.MONEY]


@pytest.mark.parametrize("kind", [BusyError, RetryableError])
async def test_what_concerns_one_caller_alone_stops_no_other(clock: SettableClock, kind: type[RetryableError]) -> None:
    provider = provider_of(clock, in_flight=1, circuit={"failures": 1, "of": 1})

    # It would be written, to the store that is not there, that the others must wait.
    async with provider.turn(Priority.MONEY) as turn:
        turn.saw(kind("your allowance is used up", delay_s=60, is_alone=True))

    async with calling(provider, Priority.MONEY) as (came, _):
        assert came == [Priority.MONEY]


async def test_a_call_in_a_thread_ends_its_turn_there_and_once(clock: SettableClock) -> None:
    provider = provider_of(clock, in_flight=1)
    came: list[str] = []

    async def next_one() -> None:
        async with provider.turn(Priority.MONEY):
            came.append("next")

    async with provider.turn(Priority.MONEY) as turn:
        with turn.taken():
            end = end_of_turn()
        follows = asyncio.create_task(next_one())
        await rest()
        assert came == []
        await asyncio.to_thread(end)
        await asyncio.to_thread(end)
        await follows
        assert came == ["next"], "its own call is still looked at"

    async with calling(provider, Priority.MONEY, Priority.MONEY) as (taken, _):
        assert taken == [Priority.MONEY], "one place, however often it was given back"


async def test_who_calls_without_a_turn_ends_none(clock: SettableClock) -> None:
    await asyncio.to_thread(end_of_turn())


def test_a_thread_outlives_the_loop() -> None:
    async def call() -> End:
        with Turn().taken():
            return end_of_turn()

    asyncio.run(call())()
