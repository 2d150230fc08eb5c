"""Batches: many deliveries share a transaction, and each is alone with its own failure."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pydantic import BaseModel
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.capability import handler
from hub.deliver.context import Context
from hub.event import Event
from hub.ledger import Account, Move
from hub.ledger.tables import balances, entries
from hub.money import Money
from hub.store import tables as t
from hub.store.store import Store
from tests.integration.deliver.workshop import Journal, give, keys_of_one_lane, message, route, routing, states
from tests.support.parts import SOURCES, Parts, assemble, wiring_of
from tests.support.patience import until

BANK = Account("bank", "VND", "debit", running=False)
KINDS = ("entries", "notes", "events", "timers", "messages", "tags")
SINS = ("reference of the past", "check", "unique row", "integer too large", "lone surrogate", "nul")
ONE_ATTEMPT = "attempts: 1, first: 1ms, longest: 1ms"


def wallet(name: str) -> Account:
    return Account(f"wallet:{name}", "VND", "credit")


def vnd(amount: int) -> Money:
    return Money(amount, "VND")


@pytest.fixture
async def notes(store: Store) -> None:
    """A capability's own table, with a rule of its own."""

    async def work(conn: AsyncConnection) -> None:
        await conn.execute(text("CREATE TABLE notes (id integer PRIMARY KEY, amount integer CHECK (amount > 0))"))

    await store.write(work)


async def noted(store: Store) -> list[int]:
    async with store.reading() as conn:
        return [row[0] for row in await conn.execute(text("SELECT id FROM notes ORDER BY id"))]


async def note(ctx: Context, number: int, amount: int = 1) -> None:
    await ctx.session.execute(text("INSERT INTO notes VALUES (:id, :amount)"), {"id": number, "amount": amount})


async def everything(event: Event, ctx: Context) -> None:
    """Cause one of each effect."""
    number = event.data["n"]
    await ctx.ledger.post(f"entry-{number}", "top_up", [Move(BANK, wallet("w"), vnd(5))])
    await note(ctx, number)
    await ctx.emit("made", {"n": number})
    await ctx.after(3_600, "later", {"n": number})
    await ctx.publish({"n": number}, to="out")
    ctx.tag("number", str(number))
    ctx.review("needs_review", "look at it")


async def written(parts: Parts) -> dict[str, list[str]]:
    """The effects that are stored, by kind, each as the number of the message that caused it."""
    async with parts.store.reading() as conn:
        posted = [row[0].removeprefix("entry-") for row in await conn.execute(select(entries.c.reference))]
    return {
        "entries": sorted(posted),
        "notes": [str(number) for number in await noted(parts.store)],
        "events": sorted(str(_n(row.payload)) for row in await parts.rows(t.inbox) if row.type == "made"),
        "timers": sorted(str(_n(row.payload)) for row in await parts.rows(t.timers)),
        "messages": sorted(str(_n(row.payload)) for row in await parts.rows(t.outbox)),
        "tags": sorted(row.value for row in await parts.rows(t.tags)),
    }


def _n(payload: bytes) -> int:
    return int(payload.decode().partition(":")[2].rstrip("}"))


@pytest.mark.usefixtures("notes")
async def test_a_handler_that_raises_loses_all_of_its_own_effects_and_nobody_elses(store: Store) -> None:
    @handler
    async def run(event: Event, ctx: Context) -> None:
        await everything(event, ctx)
        if event.data["n"] == 2:
            raise RuntimeError("after all that")

    routes = routing(route("run", "run", match="a", retry=ONE_ATTEMPT), destinations=["out"])
    async with assemble(store, routes, {"run": run}) as parts:
        await give(parts, *(message("a", {"n": n}) for n in (1, 2, 3)))
        await parts.settle()

        assert await written(parts) == {kind: ["1", "3"] for kind in KINDS}
        assert sorted(states(await parts.deliveries())) == ["done", "done", "parked"]
        assert len(await parts.rows(t.reviews)) == 2


@pytest.mark.usefixtures("notes")
@pytest.mark.parametrize("sin", SINS)
async def test_what_the_database_refuses_hurts_only_the_delivery_that_wrote_it(store: Store, sin: str) -> None:
    """Where the database finds it only when the batch is written, the culprit is searched for by halving."""

    @handler
    async def run(event: Event, ctx: Context) -> None:
        await everything(event, ctx)
        if event.data["n"] != 6:
            return
        match sin:
            case "reference of the past":
                await ctx.ledger.post("entry-past", "top_up", [Move(BANK, wallet("w"), vnd(5))])
            case "check":
                await note(ctx, 99, amount=0)
            case "unique row":
                await note(ctx, 6)
            case "integer too large":
                await note(ctx, 2**70)
            case "lone surrogate":
                ctx.tag("bad", "\ud800")
            case "nul":
                ctx.tag("bad", "\x00")

    async def past(event: Event, ctx: Context) -> None:
        await ctx.ledger.post("entry-past", "top_up", [Move(BANK, wallet("w"), vnd(5))])

    routes = routing(
        route("past", "past", match="past"), route("run", "run", match="a", retry=ONE_ATTEMPT), destinations=["out"]
    )
    async with assemble(store, routes, {"run": run, "past": handler(past)}) as parts:
        await give(parts, message("past", {"n": 0}))
        await parts.settle()
        await give(parts, *(message("a", {"n": n}) for n in range(1, 10)))
        await parts.settle()

        found = await written(parts)
        good = [str(n) for n in range(1, 10) if n != 6]
        if sin == "nul" and store.dialect == "sqlite":
            # SQLite keeps a NUL: nothing was refused.
            good.insert(5, "6")
        assert [one for one in found.pop("entries") if one != "past"] == good
        assert found.pop("tags")[: len(good)] == good or sin == "nul"
        assert found == dict.fromkeys(("notes", "events", "timers", "messages"), good)
        [sinner] = [row for row in await parts.deliveries() if row.id >> 16 == _seq_of_sixth(await parts.rows(t.inbox))]
        assert sinner.state == ("done" if sin == "nul" and store.dialect == "sqlite" else "parked")
        assert await _sum(store) == 5 * len(good) + 5


def _seq_of_sixth(rows: list[Any]) -> int:
    [seq] = [row.seq for row in rows if row.type == "a" and _n(row.payload) == 6]
    return int(seq)


async def _sum(store: Store) -> int:
    async with store.reading() as conn:
        return int((await conn.execute(select(balances.c.balance).where(balances.c.balance > 0))).first()[0])  # type: ignore[index]


async def test_an_account_that_is_declared_otherwise_hurts_only_its_own_delivery(store: Store) -> None:
    journal = Journal()

    def accounts(event: Event) -> list[Account]:
        currency = "JPY" if event.data["n"] == 2 else "VND"
        return [Account("wallet:shared", currency, "credit")]

    @handler(accounts=accounts)
    async def run(event: Event, ctx: Context) -> None:
        [account] = accounts(event)
        await ctx.ledger.balance(account)
        journal.done("run", event.data["n"])

    async with assemble(store, routing(route("run", "run", retry=ONE_ATTEMPT)), {"run": run}) as parts:
        await give(parts, message("a", {"n": 1}))
        await parts.settle()
        await give(parts, *(message("a", {"n": n}) for n in (2, 3, 4)))
        await parts.settle()

        assert sorted(journal.of("run")) == [1, 3, 4]
        assert sorted(states(await parts.deliveries())) == ["done", "done", "done", "parked"]


@pytest.mark.usefixtures("notes")
async def test_an_error_of_the_database_that_a_handler_swallows_is_not_blamed_on_its_neighbour(store: Store) -> None:
    @handler
    async def run(event: Event, ctx: Context) -> None:
        if event.data["n"] == 1:
            try:
                await note(ctx, 1, amount=0)
            except Exception:
                return
        await ctx.ledger.balance(wallet("w"))

    async with assemble(store, routing(route("run", "run", retry=ONE_ATTEMPT)), {"run": run}) as parts:
        await give(parts, *(message("a", {"n": n}) for n in (0, 1, 2)))
        await parts.settle()

        rows = await parts.deliveries()
        assert (rows[0].state, rows[2].state) == ("done", "done")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it ignores its closing, too
@pytest.mark.usefixtures("notes")
@pytest.mark.parametrize("way", ["sleeps", "sleeps in its own table", "swallows", "swallows for ever", "returns late"])
async def test_a_handler_that_will_not_end_is_stopped_and_its_neighbours_go_on(store: Store, way: str) -> None:
    is_over = asyncio.Event()

    @handler
    async def run(event: Event, ctx: Context) -> None:
        await note(ctx, event.data["n"])

    @handler(timeout_s=0.15)
    async def stay(event: Event, ctx: Context) -> None:
        await note(ctx, event.data["n"])
        match way:
            case "sleeps":
                await asyncio.sleep(60)
            case "sleeps in its own table":
                await ctx.session.execute(text(_SLOW[store.dialect]))
            case "swallows":
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    await asyncio.sleep(60)
            case "swallows for ever":
                while not is_over.is_set():
                    try:
                        await asyncio.sleep(60)
                    except BaseException:
                        continue
            case "returns late":
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    return

    routes = routing(
        route("run", "run", match="a", retry=ONE_ATTEMPT), route("stay", "stay", match="b", retry=ONE_ATTEMPT)
    )
    async with assemble(store, routes, {"run": run, "stay": stay}) as parts:
        await give(parts, message("a", {"n": 1}), message("b", {"n": 2}), message("a", {"n": 3}))
        await parts.settle()

        assert await noted(store) == [1, 3]
        assert states(await parts.deliveries()) == ["done", "parked", "done"]
        # The connection is whole: the next delivery runs on it.
        await give(parts, message("a", {"n": 4}))
        await parts.settle()
        assert await noted(store) == [1, 3, 4]
    is_over.set()


_SLOW = {
    "postgresql": "SELECT pg_sleep(30)",
    "sqlite": "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 3000000) SELECT max(x) FROM n",
}


@pytest.mark.parametrize("error", [asyncio.CancelledError, TimeoutError, StopAsyncIteration, OSError])
async def test_an_odd_exception_is_an_ordinary_failure(store: Store, error: type[BaseException]) -> None:
    journal = Journal()

    @handler
    async def run(event: Event, _: Context) -> None:
        if event.data["n"] == 2:
            raise error("odd")
        journal.done("run", event.data["n"])

    async with assemble(store, routing(route("run", "run", retry=ONE_ATTEMPT)), {"run": run}) as parts:
        await give(parts, *(message("a", {"n": n}) for n in (1, 2, 3)))
        await parts.settle()

        assert sorted(journal.of("run")) == [1, 3]
        [parked] = [row for row in await parts.deliveries() if row.state == "parked"]
        assert "did not end" not in parked.reason


@pytest.mark.usefixtures("notes")
async def test_a_handler_that_keeps_its_context_cannot_write_when_it_has_ended(store: Store) -> None:
    kept: list[tuple[Context, Any]] = []
    errors: list[Exception] = []

    async def try_all(ctx: Context, session: Any) -> None:
        late: list[Callable[[], Awaitable[object]]] = [
            lambda: ctx.emit("late", {}),
            lambda: ctx.publish({}, to="out"),
            lambda: ctx.after(1, "late", {}),
            lambda: ctx.ledger.post("late", "top_up", [Move(BANK, wallet("w"), vnd(5))]),
            lambda: note(ctx, 66),
            lambda: session.execute(text("INSERT INTO notes VALUES (77, 1)")),
        ]
        for one in late:
            try:
                await one()
            except Exception as error:
                errors.append(error)
        try:
            ctx.tag("late", "x")
        except Exception as error:
            errors.append(error)

    @handler
    async def run(event: Event, ctx: Context) -> None:
        if event.data["n"] == 2:
            # Within the same batch, whose transaction is still open.
            for one in list(kept):
                await try_all(*one)
        else:
            kept.append((ctx, ctx.session))
            await note(ctx, event.data["n"])
            if event.data["n"] == 1:
                raise RuntimeError("ends badly")

    routes = routing(route("run", "run", match="a", retry=ONE_ATTEMPT), destinations=["out"])
    async with assemble(store, routes, {"run": run}) as parts:
        keys = keys_of_one_lane(3)
        await give(parts, *(message("a", {"n": n, "key": key}) for n, key in enumerate(keys)))
        await parts.settle()
        for ctx, session in kept:
            await try_all(ctx, session)

        assert len(errors) == 4 * 7
        assert (await written(parts))["notes"] == ["0"]
        assert [row for row in await parts.rows(t.inbox) if row.type == "late"] == []
        assert await parts.rows(t.outbox) == await parts.rows(t.timers) == await parts.rows(t.tags) == []


async def test_a_message_that_does_not_fit_its_model_is_parked_with_the_field_and_not_the_value(store: Store) -> None:
    class Transfer(BaseModel):
        amount: int

    async def run(transfer: Any, _: Context) -> None: ...

    run.__annotations__["transfer"] = Transfer
    async with assemble(store, routing(route("run", "run")), {"run": handler(run)}) as parts:
        await give(parts, message("a", {"amount": "secret 0901234567"}))
        await parts.settle()

        [row] = await parts.deliveries()
        assert (row.state, row.attempts) == ("parked", 1)
        assert "amount" in row.reason
        assert "0901234567" not in row.reason


async def test_a_reload_in_the_middle_of_a_batch_routes_what_it_emits_by_the_rules_it_began_with(store: Store) -> None:
    handlers: dict[str, Any] = {}

    @handler
    async def run(event: Event, ctx: Context) -> None:
        # The new file has a route that has no number yet, as far as this batch knows.
        parts.wiring = wiring_of(SOURCES + routing(old, route("see", "run", match="made")), handlers, parts.clock)
        await ctx.emit("made", {"n": 1})

    handlers["run"] = run
    old = route("run", "run", match="a")
    async with assemble(store, routing(old), handlers) as parts:
        await give(parts, message("a", {}))
        await until(lambda: _was_tried(parts))

        assert states(await parts.deliveries()) == ["done"]
        assert [row.matches for row in await parts.rows(t.inbox)] == [1, 0]


async def _was_tried(parts: Parts) -> bool:
    [row, *_] = await parts.deliveries()
    return bool(row.attempts > 0)
