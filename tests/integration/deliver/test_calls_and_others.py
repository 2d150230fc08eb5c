"""Calls that take their time: everything else goes on, and those behind wait."""

from __future__ import annotations

import asyncio
from datetime import datetime

from sqlalchemy import text

from hub.calls.outcome import Settled, Unknown
from hub.capability import handler
from hub.deliver.context import Context
from hub.event import Event
from hub.store.store import Store
from tests.integration.deliver.calling import PAY, Provider, posted, touch
from tests.integration.deliver.workshop import Journal, give, message, route, routing, states
from tests.support.clock import SettableClock
from tests.support.parts import assemble
from tests.support.patience import STILL_S_MAX, until


async def test_while_a_call_hangs_everything_else_goes_on(store: Store) -> None:
    provider, journal = Provider(), Journal()

    @handler
    async def note(event: Event, _: Context) -> None:
        journal.done("note", event.data["n"])

    routes = routing(route("pay", "pay", match="pay"), route("note", "note", match="note"))
    async with assemble(store, routes, {"pay": provider.spec([], fn=provider.never), "note": note}) as parts:
        await give(parts, message("pay", {"key": "k", "n": 0}))
        await provider.reached.wait()
        # The same key on another route, another key on the same route, another writer altogether.
        await give(parts, message("note", {"key": "k", "n": 1}), message("pay", {"key": "other", "n": 2}))
        await until(lambda: journal.of("note") == [1])
        await until(lambda: len(provider.sent) == 2)
        async with asyncio.timeout(STILL_S_MAX):
            await store.write(touch)
        if store.dialect == "postgresql":
            begun = await _now(store)

            async def none_is_open() -> bool:
                return await _open_since_before(store, begun) == 0

            await until(none_is_open, "every transaction to end that is as old as the call")
        # The chain itself waits.
        await give(parts, message("pay", {"key": "k", "n": 3}))

        async def waits() -> bool:
            return await parts.count("waiting") == 1

        await until(waits)
        assert len(provider.sent) == 2
        provider.silent.set()
        await parts.settle()
        assert [key for key, _ in provider.sent] == ["k", "other", "k"]
        assert states(await parts.deliveries()) == ["done"] * 4


async def test_only_so_many_calls_are_out_and_database_handlers_are_not_crowded_out(store: Store) -> None:
    provider, journal, out = Provider(), Journal(), []

    async def count() -> None:
        out.append(1)
        most.append(len(out))
        await provider.silent.wait()
        out.pop()

    most: list[int] = []
    provider.on_send = count

    @handler
    async def note(event: Event, _: Context) -> None:
        journal.done("note", event.data["n"])

    routes = routing(route("pay", "pay", match="pay"), route("note", "note", match="note"))
    async with assemble(store, routes, {"pay": provider.spec([]), "note": note}, batch_size=10) as parts:
        assert parts.worker is not None
        parts.worker.callers._calls_max = 4
        await give(parts, *(message("pay", {"key": f"k{n}"}) for n in range(60)))
        await until(lambda: len(out) == 4)
        await give(parts, *(message("note", {"key": f"k{n}", "n": n}) for n in range(60)))
        await until(lambda: len(journal.of("note")) == 60, "handlers behind sixty waiting calls")
        commits = await _transactions(store)
        await asyncio.sleep(0.3)
        assert await _transactions(store) - commits < 150, "the loop must not spin while it has no room"

        provider.silent.set()
        await parts.settle()
        assert max(most) == 4
        assert len(provider.sent) == 60
        assert await posted(store) == 60


async def test_a_delivery_that_is_marked_as_calling_without_a_task_is_given_back(store: Store) -> None:
    provider = Provider()
    async with assemble(store, PAY, {"pay": provider.spec([])}, start=False) as parts:
        await parts.start()
        # As after a commit whose success was not heard of.
        worker = parts.worker
        assert worker is not None
        start, worker.callers.start = worker.callers.start, lambda work: None  # type: ignore[method-assign]
        await give(parts, message("pay", {"key": "k"}))

        async def calling() -> bool:
            return await parts.count("calling") == 1

        await until(calling)
        worker.callers.start = start  # type: ignore[method-assign]
        await parts.settle()

        assert len(provider.sent) == 1
        assert states(await parts.deliveries()) == ["done"]
        await parts.stop()


async def test_a_call_is_shown_as_waiting_to_those_behind_it_until_it_is_decided(
    store: Store, clock: SettableClock
) -> None:
    provider = Provider(Unknown("lost"))
    provider.found = [Settled({"id": 1})]
    routes = routing(route("pay", "pay", match="pay", retry="attempts: 3, first: 10s, longest: 10s"))
    async with assemble(store, routes, {"pay": provider.spec([])}, clock=clock) as parts:
        await give(parts, message("pay", {"key": "k"}), message("pay", {"key": "k"}))

        async def backs_off() -> bool:
            return states(await parts.deliveries()) == ["retrying", "waiting"]

        await until(backs_off)
        assert len(provider.sent) == 1
        clock.advance(11)
        await parts.settle()
        assert len(provider.sent) == 2


async def _now(store: Store) -> datetime:
    async with store.reading() as conn:
        now: datetime = (await conn.execute(text("SELECT clock_timestamp()"))).scalar_one()
        return now


async def _open_since_before(store: Store, moment: datetime) -> int:
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'"
        " AND xact_start < :moment"
    )
    async with store.reading() as conn:
        return int((await conn.execute(text(query), {"moment": moment})).scalar_one())


async def _transactions(store: Store) -> int:
    if store.dialect == "sqlite":
        return 0
    async with store.reading() as conn:
        await conn.execute(text("SELECT pg_stat_clear_snapshot()"))
        query = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
        return int((await conn.execute(text(query))).scalar_one())
