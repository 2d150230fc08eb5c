"""Stopping and going on: what is in hand ends, what is not waits for the next start."""

from __future__ import annotations

import asyncio
from typing import Any

from hub.calls.outcome import NotFound, Outcome, Settled
from hub.capability import calls, handler
from hub.deliver.context import Context
from hub.errors import StoreUnavailableError
from hub.event import Event
from hub.store import tables as t
from hub.store.store import Store
from tests.integration.deliver.workshop import Journal, give, message, route, routing, states
from tests.support.parts import assemble
from tests.support.patience import STILL_S_MAX, until


async def test_the_batch_in_hand_is_finished_and_the_rest_is_left_for_the_next_start(store: Store) -> None:
    journal, begun = Journal(), asyncio.Event()

    @handler
    async def run(event: Event, _: Context) -> None:
        begun.set()
        await asyncio.sleep(0.01)
        journal.done(str(event.key), event.data["n"])

    routes = routing(route("run", "run"))
    async with assemble(store, routes, {"run": run}, start=False) as parts:
        await parts.start(batch_size=5)
        await give(parts, *(message("a", {"key": "k", "n": n}) for n in range(40)))
        await begun.wait()
        await parts.stop()
        assert parts.member is not None
        await parts.member.leave()

        done = len(journal.of("k"))
        assert 0 < done < 40
        assert await parts.count("done") == done, "nothing ran whose end was not written"
    async with assemble(store, routes, {"run": run}) as parts:
        assert parts.holding is not None
        assert not parts.holding.suspects
        await parts.settle()

        assert journal.of("k") == list(range(40))


async def test_an_idle_worker_stops_at_once(store: Store) -> None:
    @handler
    async def run(event: Event, _: Context) -> None: ...

    async with assemble(store, routing(route("run", "run")), {"run": run}, start=False) as parts:
        await parts.start(sweep_s=3_600.0)
        await give(parts, message("a", {}))
        await parts.settle()

        async with asyncio.timeout(STILL_S_MAX):
            await parts.stop()


async def test_a_call_that_ends_within_the_deadline_is_recorded(store: Store) -> None:
    begun = asyncio.Event()

    async def send(request: Any, key: str) -> Outcome:
        begun.set()
        await asyncio.sleep(0.1)
        return Settled()

    @calls("bank")
    async def pay(event: Event, ctx: Context) -> None:
        await ctx.call("pay", send, {})

    async with assemble(store, routing(route("pay", "pay")), {"pay": pay}, start=False) as parts:
        await parts.start()
        await give(parts, message("a", {}))
        await begun.wait()
        await parts.stop()

        assert states(await parts.rows(t.calls)) == ["settled"]
        assert states(await parts.deliveries()) == ["done"]


async def test_a_call_that_outlasts_the_deadline_is_asked_about_at_the_next_start(store: Store) -> None:
    begun, never, asked, sent = asyncio.Event(), asyncio.Event(), [], []

    async def send(request: Any, key: str) -> Outcome:
        sent.append(key)
        begun.set()
        if len(sent) == 1:
            await never.wait()
        return Settled()

    async def look_up(request: Any, key: str) -> NotFound:
        asked.append(key)
        return NotFound(may_repeat=True)

    @calls("bank")
    async def pay(event: Event, ctx: Context) -> None:
        await ctx.call("pay", send, {}, lookup=look_up)

    routes = routing(route("pay", "pay"))
    async with assemble(store, routes, {"pay": pay}, start=False) as parts:
        await parts.start()
        await give(parts, message("a", {}))
        await begun.wait()
        assert parts.worker is not None
        async with asyncio.timeout(STILL_S_MAX):
            parts.worker.stop()
            await parts.worker.callers.finish(0.1)
            await parts.stop()
        assert states(await parts.rows(t.calls)) == ["started"]
        assert parts.member is not None
        await parts.member.leave()
    async with assemble(store, routes, {"pay": pay}) as parts:
        await parts.settle()

        assert asked == [sent[0]]
        assert sent == [sent[0]] * 2
        assert states(await parts.deliveries()) == ["done"]


async def test_a_database_that_goes_away_pauses_the_worker_and_nothing_is_lost(store: Store) -> None:
    journal = Journal()

    @handler
    async def run(event: Event, _: Context) -> None:
        journal.done(str(event.key), event.data["n"])

    async with assemble(store, routing(route("run", "run")), {"run": run}) as parts:
        original = store.write
        failures: list[int] = []

        async def failing(work: Any, **given: Any) -> Any:
            if len(failures) < 3:
                failures.append(1)
                raise StoreUnavailableError("away", delay_s=0.1)
            return await original(work, **given)

        await give(parts, message("a", {"key": "k", "n": 1}))
        await parts.settle()
        store.write = failing  # type: ignore[method-assign]
        parts.to_deliver.add(range(256))
        await until(lambda: len(failures) == 3)
        await give(parts, message("a", {"key": "k", "n": 2}))
        await parts.settle()

        assert journal.of("k") == [1, 2]
        assert not any(task.done() for task in parts._tasks)
