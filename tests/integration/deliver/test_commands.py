"""Commands: accepted and carried out in one transaction, with an answer, or not at all."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import select

from hub.capability import calls, handler
from hub.deliver.command import CommandDone, RepeatedCommandError, run_command
from hub.deliver.context import Context
from hub.errors import PermanentError, RefusedCommand, UsageError
from hub.event import Event
from hub.inbox.drafting import COMMAND
from hub.ledger import Account, Move
from hub.ledger.errors import InsufficientFundsError
from hub.ledger.tables import balances, entries
from hub.money import Money
from hub.operate.equation import check
from hub.store import tables as t
from hub.store.store import Store
from tests.integration.deliver.workshop import give, message, route, routing, states
from tests.support.parts import Parts, assemble
from tests.support.patience import STILL_S_MAX, until

BANK = Account("bank", "VND", "debit", running=False)
SALES = Account("sales", "VND", "credit", running=False)
WALLET = Account("wallet:w", "VND", "credit")
ROUTES = routing(
    route("pay", "pay", match="pay"),
    route("tell", None, match="pay", more="publish: out"),
    route("fill", "fill", match="fill"),
    destinations=["out"],
)


@handler
async def pay(event: Event, ctx: Context) -> dict[str, int]:
    """Pay from the wallet; the answer is what is left."""
    amount = event.data["amount"]
    if amount > 1_000:
        raise RefusedCommand("too_much", "not more than 1000 at once", limit=1_000)
    await ctx.ledger.post(f"pay-{event.id}", "payment", [Move(WALLET, SALES, Money(amount, "VND"))])
    await ctx.emit("paid", {"n": amount})
    return {"left": (await ctx.ledger.balance(WALLET)).amount_minor}


@handler
async def fill(event: Event, ctx: Context) -> None:
    if event.data.get("fails"):
        raise RuntimeError("no")
    await ctx.ledger.post(f"fill-{event.id}", "top_up", [Move(BANK, WALLET, Money(event.data["amount"], "VND"))])


HANDLERS = {"pay": pay, "fill": fill}


async def command(
    parts: Parts, type_: str, amount: int, *, key: str = "w", dedupe_id: str | None = None
) -> CommandDone:
    payload = b'{"amount": %d}' % amount
    draft = parts.wiring.drafter.internal(type_, payload, source=COMMAND, key=key, dedupe_id=dedupe_id)
    return await run_command(parts.around, parts.rules, draft)


async def test_the_answer_is_what_the_handler_returned_and_everything_is_stored(store: Store) -> None:
    async with assemble(store, ROUTES, HANDLERS) as parts:
        await command(parts, "fill", 500)
        done = await command(parts, "pay", 120)

        assert done.answer == {"left": 380}
        rows = await parts.deliveries(done.event.id)
        assert states(rows, "route", "state") == [("pay", "done"), ("tell", "done")]
        assert [row.payload for row in await parts.rows(t.outbox)] == [b'{"amount": 120}']
        assert [row.type for row in await parts.rows(t.inbox)] == ["fill", "pay", "paid"]
        assert done.event.seq > 0


async def test_a_refused_command_stores_nothing_and_says_why(store: Store) -> None:
    async with assemble(store, ROUTES, HANDLERS) as parts:
        with pytest.raises(RefusedCommand) as refused:
            await command(parts, "pay", 2_000, dedupe_id="r-1")

        assert (refused.value.code, refused.value.extra) == ("too_much", {"limit": 1_000})
        await _nothing_is_stored(parts)
        # Its id is free: the same request, mended, is carried out.
        await command(parts, "fill", 10)
        assert (await command(parts, "pay", 5, dedupe_id="r-1")).answer == {"left": 5}


async def test_what_the_books_refuse_is_raised_and_nothing_is_stored(store: Store) -> None:
    async with assemble(store, ROUTES, HANDLERS) as parts:
        with pytest.raises(InsufficientFundsError):
            await command(parts, "pay", 1)

        await _nothing_is_stored(parts)


async def test_when_one_of_its_routes_fails_none_of_them_has_run(store: Store) -> None:
    @handler
    async def fail(event: Event, _: Context) -> None:
        raise PermanentError("never")

    routes = routing(route("fill", "fill", match="fill"), route("late", "fail", match="fill"))
    async with assemble(store, routes, {"fill": fill, "fail": fail}) as parts:
        with pytest.raises(PermanentError, match="never"):
            await command(parts, "fill", 5)

        await _nothing_is_stored(parts)


async def test_an_id_is_that_of_one_kind_of_command(store: Store) -> None:
    async with assemble(store, ROUTES, HANDLERS) as parts:
        await command(parts, "fill", 500, dedupe_id="r-1")

        assert (await command(parts, "pay", 120, dedupe_id="r-1")).answer == {"left": 380}


async def test_a_repeat_under_the_same_id_is_refused_with_the_first_event(store: Store) -> None:
    async with assemble(store, ROUTES, HANDLERS) as parts:
        first = await command(parts, "fill", 5, dedupe_id="r-1")
        with pytest.raises(RepeatedCommandError) as repeated:
            await command(parts, "fill", 5, dedupe_id="r-1")

        assert repeated.value.event_id == first.event.id
        assert await _entries(store) == 1


async def test_the_same_command_from_many_senders_at_once_is_carried_out_once(store: Store) -> None:
    async with assemble(store, ROUTES, HANDLERS) as parts:
        answers = await asyncio.gather(
            *(command(parts, "fill", 5, dedupe_id="r-1") for _ in range(8)), return_exceptions=True
        )

        assert sum(isinstance(answer, CommandDone) for answer in answers) == 1
        assert sum(isinstance(answer, RepeatedCommandError) for answer in answers) == 7
        assert await _entries(store) == 1


async def test_commands_that_race_for_one_wallet_never_overdraw_it(store: Store) -> None:
    async with assemble(store, ROUTES, HANDLERS) as parts:
        await command(parts, "fill", 100)
        answers = await asyncio.gather(*(command(parts, "pay", 30) for _ in range(8)), return_exceptions=True)

        assert sum(isinstance(answer, CommandDone) for answer in answers) == 3
        assert sum(isinstance(answer, InsufficientFundsError) for answer in answers) == 5
        async with store.reading() as conn:
            assert (await conn.execute(select(balances.c.balance).order_by(balances.c.balance))).all()
        assert len([row for row in await parts.rows(t.inbox) if row.type == "pay"]) == 3


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_commands_wait_for_nothing_that_they_do_not_share(store: Store) -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()

    @handler
    async def slow(event: Event, ctx: Context) -> None:
        # What it has posted locks the rows of its accounts until the commit.
        await ctx.ledger.balance(Account(f"wallet:{event.key}", "VND", "credit"))
        begun.set()
        await may_end.wait()

    @handler
    async def quick(event: Event, ctx: Context) -> None:
        wallet = Account(f"wallet:{event.key}", "VND", "credit")
        await ctx.ledger.post(f"fill-{event.id}", "top_up", [Move(BANK, wallet, Money(1, "VND"))])

    routes = routing(route("slow", "slow", match="slow"), route("quick", "quick", match="quick"))
    async with assemble(store, routes, {"slow": slow, "quick": quick}, start=False) as parts:
        await command(parts, "quick", 1, key="a")
        waiting = asyncio.create_task(command(parts, "slow", 1, key="a"))
        await begun.wait()
        async with asyncio.timeout(STILL_S_MAX):
            await asyncio.gather(*(command(parts, "quick", 1, key=key) for key in "bcde"))
        may_end.set()
        await waiting

        # Neither the counter nor the system account is one row for all of them.
        assert len(await parts.rows(t.received_totals)) == 6
        assert len([row for row in await parts.rows(balances) if row.slot > 0 and row.balance]) >= 4
        assert (await check(store)).violations == ()


async def test_a_command_does_not_wait_for_its_chain(store: Store) -> None:
    async with assemble(store, ROUTES, HANDLERS) as parts:
        await give(parts, message("fill", {"key": "w", "amount": 1, "fails": True}))

        async def is_parked() -> bool:
            return await parts.count("parked") == 1

        await until(is_parked)
        done = await command(parts, "fill", 7)

        assert states(await parts.deliveries(done.event.id)) == ["done"]
        assert await parts.count("parked") == 1


async def test_a_command_that_no_route_takes_is_the_callers_mistake(store: Store) -> None:
    async with assemble(store, ROUTES, HANDLERS) as parts:
        with pytest.raises(UsageError, match="no route takes"):
            await command(parts, "unknown", 5)


async def test_what_calls_a_provider_is_left_to_a_worker(store: Store) -> None:
    called = asyncio.Event()

    @calls("bank")
    async def call(event: Event, _: Context) -> None:
        called.set()

    routes = routing(route("fill", "fill", match="fill"), route("call", "call", match="fill"))
    async with assemble(store, routes, {"fill": fill, "call": call}) as parts:
        done = await command(parts, "fill", 5)
        parts.to_deliver.add([done.event.lane])
        await parts.settle()

        assert called.is_set()
        assert states(await parts.deliveries(done.event.id)) == ["done", "done"]


async def _entries(store: Store) -> int:
    async with store.reading() as conn:
        return len((await conn.execute(select(entries.c.id))).all())


async def _nothing_is_stored(parts: Parts) -> None:
    for table in (t.inbox, t.deliveries, t.outbox, t.identities, t.duplicates, t.received_totals, t.attempts):
        assert await parts.rows(table) == [], table.name
    assert await _entries(parts.store) == 0
