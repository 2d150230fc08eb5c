"""The books within a batch: balances are those of the deliveries before, whatever failed in between."""

from __future__ import annotations

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.capability import handler
from hub.deliver.context import Context
from hub.event import Event
from hub.ledger import Account, Move
from hub.ledger.tables import accounts, balances, entries
from hub.money import Money
from hub.store.store import Store
from tests.integration.deliver.workshop import give, keys_of_one_lane, message, route, routing, states
from tests.support.parts import assemble

BANK = Account("bank", "VND", "debit", running=False)
SALES = Account("sales", "VND", "credit", running=False)
ONE_ATTEMPT = "attempts: 1, first: 1ms, longest: 1ms"


def wallet(name: str) -> Account:
    return Account(f"wallet:{name}", "VND", "credit")


def vnd(amount: int) -> Money:
    return Money(amount, "VND")


async def book(event: Event, ctx: Context) -> None:
    """Top up (``plus``) or pay (``minus``) from the wallet of the message, with state of its own if asked for."""
    data = event.data
    if data.get("state"):
        await ctx.session.execute(text("INSERT INTO notes VALUES (:n)"), {"n": data["n"]})
    account = wallet(data["wallet"])
    if data.get("plus"):
        await ctx.ledger.post(f"e{data['n']}", "top_up", [Move(BANK, account, vnd(data["plus"]))])
    if data.get("minus"):
        await ctx.ledger.post(f"e{data['n']}m", "payment", [Move(account, SALES, vnd(data["minus"]))])
    if data.get("fails"):
        raise RuntimeError("after posting")


async def play(store: Store, *bodies: dict[str, object]) -> list[str]:
    """Deliver these in one batch, in order; answers with the states of their deliveries."""

    async def work(conn: AsyncConnection) -> None:
        await conn.execute(text("CREATE TABLE IF NOT EXISTS notes (n integer PRIMARY KEY)"))

    await store.write(work)
    routes = routing(route("book", "book", retry=ONE_ATTEMPT))
    async with assemble(store, routes, {"book": handler(book)}) as parts:
        keys = keys_of_one_lane(len(bodies))
        await give(parts, *(message("a", {"n": n, "key": keys[n], **body}) for n, body in enumerate(bodies)))
        await parts.settle()
        return states(await parts.deliveries())


async def balance_of(store: Store, name: str) -> int | None:
    query = select(balances.c.balance).join(accounts, accounts.c.id == balances.c.account_id)
    async with store.reading() as conn:
        return (await conn.execute(query.where(accounts.c.code == f"wallet:{name}"))).scalar_one_or_none()


async def references(store: Store) -> list[str]:
    async with store.reading() as conn:
        return sorted(row[0] for row in await conn.execute(select(entries.c.reference)))


async def test_an_overdraft_is_refused_by_what_came_before_it_in_the_batch(store: Store) -> None:
    outcomes = await play(
        store,
        {"wallet": "w", "minus": 10},  # nothing there yet
        {"wallet": "w", "plus": 100},
        {"wallet": "w", "minus": 70},
        {"wallet": "w", "minus": 40},  # only 30 are left
        {"wallet": "w", "minus": 30},
    )

    assert outcomes == ["parked", "done", "done", "parked", "done"]
    assert await balance_of(store, "w") == 0


async def test_a_failed_delivery_leaves_no_trace_in_the_balances_that_later_ones_see(store: Store) -> None:
    outcomes = await play(
        store,
        {"wallet": "w", "plus": 50},
        {"wallet": "w", "plus": 1_000, "fails": True},
        {"wallet": "w", "minus": 60},  # would pass with what was undone
        {"wallet": "w", "minus": 50},
    )

    assert outcomes == ["done", "parked", "parked", "done"]
    assert await balance_of(store, "w") == 0
    assert await references(store) == ["e0", "e3m"]


async def test_an_account_that_was_opened_in_a_savepoint_that_was_rolled_back_is_opened_again(store: Store) -> None:
    outcomes = await play(
        store,
        {"wallet": "new", "plus": 5, "state": True, "fails": True},
        {"wallet": "new", "plus": 7, "state": True},
        {"wallet": "other", "plus": 1, "state": True, "fails": True},
        {"wallet": "other", "plus": 2},
        {"wallet": "new", "minus": 8},
    )

    assert outcomes == ["parked", "done", "parked", "done", "parked"]
    assert (await balance_of(store, "new"), await balance_of(store, "other")) == (7, 2)


async def test_an_entry_that_was_undone_may_be_posted_again_under_its_reference(store: Store) -> None:
    tried: list[int] = []

    async def post_then_fail_once(event: Event, ctx: Context) -> None:
        await ctx.ledger.post("once", "top_up", [Move(BANK, wallet("w"), vnd(9))])
        tried.append(1)
        if len(tried) == 1:
            raise RuntimeError("after posting")

    async with assemble(store, routing(route("book", "book")), {"book": handler(post_then_fail_once)}) as parts:
        await give(parts, message("a", {}))
        await parts.settle()

        assert states(await parts.deliveries()) == ["done"]
        assert await balance_of(store, "w") == 9
        assert await references(store) == ["once"]


async def test_two_deliveries_with_one_reference_post_it_once(store: Store) -> None:
    async def same(event: Event, ctx: Context) -> None:
        await ctx.ledger.post("same", "top_up", [Move(BANK, wallet("w"), vnd(9))])

    routes = routing(route("book", "book", retry=ONE_ATTEMPT))
    async with assemble(store, routes, {"book": handler(same)}) as parts:
        await give(parts, *(message("a", {}) for _ in range(3)))
        await parts.settle()

        assert sorted(states(await parts.deliveries())) == ["done", "parked", "parked"]
        assert await balance_of(store, "w") == 9
