"""Calls and the database: no transaction meanwhile, and effects that commit with the end of the delivery."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.capability import calls, handler
from hub.deliver.context import Context
from hub.event import Event
from hub.ledger import Account, Book, Move
from hub.money import Money
from hub.store import tables as t
from hub.store.store import Store
from tests.integration.deliver.calling import BANK, PAY, WALLET, Provider, posted, touch
from tests.integration.deliver.workshop import give, message, route, routing, states
from tests.support.locks import until_one_waits
from tests.support.parts import assemble
from tests.support.patience import STILL_S_MAX, until


async def test_a_call_inside_a_reading_is_refused_before_anything_is_sent(store: Store) -> None:
    provider = Provider()

    @calls("bank")
    async def pay(_: Event, ctx: Context) -> None:
        async with ctx.reading():
            await ctx.call("pay", provider.send, {})

    async with assemble(store, PAY, {"pay": pay}) as parts:
        await give(parts, message("pay", {}))
        await parts.settle()

        [row] = await parts.deliveries()
        assert (row.state, row.reason) == ("parked", "step 'pay': leave `async with ctx.reading()` before the call")
        assert provider.sent == []


async def test_a_call_after_a_reading_is_sent(store: Store) -> None:
    provider = Provider()

    @calls("bank")
    async def pay(_: Event, ctx: Context) -> None:
        async with ctx.reading() as session:
            await session.execute(text("SELECT 1"))
        await ctx.call("pay", provider.send, {})

    async with assemble(store, PAY, {"pay": pay}) as parts:
        await give(parts, message("pay", {}))
        await parts.settle()

        assert states(await parts.deliveries()) == ["done"]


async def test_effects_of_a_call_commit_together_with_its_end_or_not_at_all(store: Store) -> None:
    provider, tries = Provider(), []

    @calls("bank")
    async def pay(event: Event, ctx: Context) -> None:
        await ctx.call("pay", provider.send, {})
        await ctx.begin()
        await ctx.session.execute(text("INSERT INTO notes VALUES (1)"))
        await ctx.ledger.post("once", "paid", [Move(BANK, WALLET, Money(5, "VND"))])
        await ctx.publish({"n": 1}, to="out")
        tries.append(1)
        if len(tries) == 1:
            raise RuntimeError("after everything")

    async def table(conn: AsyncConnection) -> None:
        await conn.execute(text("CREATE TABLE notes (n integer PRIMARY KEY)"))

    await store.write(table)
    routes = routing(route("pay", "pay", match="pay"), destinations=["out"])
    async with assemble(store, routes, {"pay": pay}) as parts:
        await give(parts, message("pay", {}))
        await parts.settle()

        assert len(provider.sent) == 1
        assert len(await parts.rows(t.outbox)) == 1
        assert await posted(store) == 1
        async with store.reading() as conn:
            assert (await conn.execute(text("SELECT count(*) FROM notes"))).scalar_one() == 1


async def test_what_the_books_refuse_after_a_call_is_a_failure_and_the_call_is_not_repeated(store: Store) -> None:
    provider = Provider()

    @calls("bank")
    async def pay(event: Event, ctx: Context) -> None:
        await ctx.call("pay", provider.send, {})
        await ctx.ledger.post("same for all", "paid", [Move(BANK, WALLET, Money(5, "VND"))])

    routes = routing(route("pay", "pay", match="pay", retry="attempts: 2, first: 1ms, longest: 2ms"))
    async with assemble(store, routes, {"pay": pay}) as parts:
        await give(parts, message("pay", {}), message("pay", {}))
        await parts.settle()

        assert sorted(states(await parts.deliveries(), "state", "attempts")) == [("done", 1), ("parked", 2)]
        assert len(provider.sent) == 2
        assert await posted(store) == 1


async def test_a_call_after_the_books_weretouched_is_refused(store: Store) -> None:
    provider = Provider()

    @calls("bank")
    async def pay(event: Event, ctx: Context) -> None:
        await ctx.ledger.balance(WALLET)
        await ctx.call("pay", provider.send, {})

    async with assemble(store, PAY, {"pay": pay}) as parts:
        await give(parts, message("pay", {}))
        await parts.settle()

        assert provider.sent == []
        assert states(await parts.deliveries()) == ["parked"]


async def test_a_handler_without_the_mark_cannot_call(store: Store) -> None:
    provider = Provider()

    @handler
    async def pay(event: Event, ctx: Context) -> None:
        await ctx.call("pay", provider.send, {})

    async with assemble(store, PAY, {"pay": pay}) as parts:
        await give(parts, message("pay", {}))
        await parts.settle()

        assert provider.sent == []
        [row] = await parts.deliveries()
        assert row.state == "parked"
        assert "@calls" in row.reason


async def test_a_calling_handler_that_hangs_in_its_transaction_gives_the_database_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.deliver.caller.HANDLER_S_MAX", 0.2)
    never = asyncio.Event()

    @calls("bank")
    async def pay(event: Event, ctx: Context) -> None:
        await ctx.ledger.balance(WALLET)
        await never.wait()

    routes = routing(route("pay", "pay", match="pay", retry="attempts: 1, first: 1ms, longest: 1ms"))
    async with assemble(store, routes, {"pay": pay}) as parts:
        await give(parts, message("pay", {}))
        await until(lambda: parts.worker is not None and bool(parts.worker.callers.in_flight))
        async with asyncio.timeout(STILL_S_MAX):
            await asyncio.sleep(0.4)
            await store.write(touch)
        never.set()
        await parts.settle()

        assert states(await parts.deliveries()) == ["parked"]


async def test_a_calling_delivery_that_loses_a_deadlock_is_run_again_without_a_second_call(store: Store) -> None:
    if store.dialect == "sqlite":
        pytest.skip("one writer cannot meet another crosswise")
    provider, has_first, may_go_on = Provider(), asyncio.Event(), asyncio.Event()
    other = Account("wallet:v", "VND", "credit")

    @calls("bank")
    async def pay(event: Event, ctx: Context) -> None:
        await ctx.call("pay", provider.send, {})
        await ctx.ledger.balance(WALLET)
        has_first.set()
        await may_go_on.wait()
        await ctx.ledger.balance(other)

    async def crosswise(conn: AsyncConnection) -> None:
        book = Book(conn, now=parts.clock.now())
        await book.lock([other])
        await has_first.wait()
        may_go_on.set()
        # The delivery waits first, so that PostgreSQL ends it and not this one.
        await until_one_waits(store)
        await book.lock([WALLET])

    async with assemble(store, PAY, {"pay": pay}) as parts:
        await store.write(lambda conn: Book(conn, now=parts.clock.now()).lock([WALLET, other]))
        await asyncio.gather(store.write(crosswise), give(parts, message("pay", {})))
        await parts.settle()

        assert states(await parts.deliveries(), "state", "attempts") == [("done", 1)]
        assert len(provider.sent) == 1
        assert len(await parts.rows(t.attempts)) == 1
