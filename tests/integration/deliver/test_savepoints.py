"""A part of a handler that may fail alone: all it caused is undone, what came before and after it stays."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from hub.capability import handler
from hub.deliver.context import Context
from hub.event import Event
from hub.ledger import Move
from hub.store import tables as t
from hub.store.store import Store
from tests.integration.deliver.test_batches import BANK, KINDS, everything, note, notes, vnd, wallet, written
from tests.integration.deliver.workshop import give, message, route, routing, states
from tests.support.parts import assemble

assert notes  # the fixture

REFUSALS = ("an error of its own", "a check of the database", "an overdraft")


@pytest.mark.usefixtures("notes")
@pytest.mark.parametrize("refusal", REFUSALS)
async def test_what_a_part_caused_is_undone_when_it_raises(store: Store, refusal: str) -> None:
    @handler
    async def run(event: Event, ctx: Context) -> None:
        await everything(event, ctx)
        try:
            async with ctx.savepoint():
                await ctx.ledger.post("entry-9", "top_up", [Move(BANK, wallet("only-inside"), vnd(5))])
                await note(ctx, 9)
                await ctx.emit("made", {"n": 9})
                await ctx.publish({"n": 9}, to="out")
                await ctx.after(3_600, "later", {"n": 9})
                ctx.tag("number", "9")
                ctx.conclude("inside")
                match refusal:
                    case "a check of the database":
                        await note(ctx, 10, amount=0)
                    case "an overdraft":
                        await ctx.ledger.post("entry-10", "spend", [Move(wallet("w"), BANK, vnd(500))])
                    case _:
                        raise ValueError("no")
        except Exception:
            ctx.tag("refused", "yes")
        # The account of the part that failed can be used again, and the balance is what it was.
        assert (await ctx.ledger.balance(wallet("w"))).amount_minor == 5
        await ctx.ledger.post("entry-2", "top_up", [Move(BANK, wallet("only-inside"), vnd(5))])

    routes = routing(
        route("run", "run", match="a", retry="attempts: 1, first: 1ms, longest: 1ms"), destinations=["out"]
    )
    async with assemble(store, routes, {"run": run}) as parts:
        await give(parts, message("a", {"n": 1}))
        await parts.settle()

        assert states(await parts.deliveries()) == ["done"]
        found = await written(parts)
        assert found.pop("entries") == ["1", "2"]
        assert found.pop("tags") == ["1", "yes"]
        assert found == {kind: ["1"] for kind in KINDS if kind not in ("entries", "tags")}
        assert len(await parts.rows(t.reviews)) == 1


@pytest.mark.usefixtures("notes")
async def test_a_part_that_succeeds_is_kept(store: Store) -> None:
    @handler
    async def run(event: Event, ctx: Context) -> None:
        async with ctx.savepoint():
            await everything(event, ctx)

    routes = routing(route("run", "run", match="a"), destinations=["out"])
    async with assemble(store, routes, {"run": run}) as parts:
        await give(parts, message("a", {"n": 1}))
        await parts.settle()

        assert await written(parts) == {kind: ["1"] for kind in KINDS}
        async with store.reading() as conn:
            assert (await conn.execute(text("SELECT sum(amount) FROM notes"))).scalar() == 1
