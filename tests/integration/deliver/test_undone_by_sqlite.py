"""A full disk makes SQLite undo a whole transaction: a handler that hides it has not done half of its work."""

from __future__ import annotations

from contextlib import suppress

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from hub.capability import handler
from hub.deliver.context import Context
from hub.event import Event
from hub.store.store import Store
from tests.integration.deliver.workshop import give, message, route, routing, states
from tests.support.parts import assemble

ROOM_MAX = 1_000_000


async def test_a_handler_that_hides_a_full_disk_runs_again(store: Store) -> None:
    if store.dialect != "sqlite":
        pytest.skip("PostgreSQL refuses what follows by itself")
    await store.write(lambda conn: conn.execute(text("CREATE TABLE effects (what BLOB)")))
    runs: list[int] = []

    @handler
    async def run(event: Event, ctx: Context) -> None:
        runs.append(len(runs) + 1)
        await ctx.session.execute(text("INSERT INTO effects VALUES ('reserved')"))
        conn = await ctx.session.connection()
        pages = (await conn.exec_driver_sql("PRAGMA page_count")).scalar_one()
        await conn.exec_driver_sql(f"PRAGMA max_page_count = {pages + 10 if runs == [1] else ROOM_MAX}")
        with suppress(OperationalError):
            await ctx.session.execute(text("INSERT INTO effects VALUES (zeroblob(1000000))"))
        await ctx.session.execute(text("INSERT INTO effects VALUES ('paid')"))

    async with assemble(store, routing(route("run", "run")), {"run": run}) as parts:
        await give(parts, message("a", {"n": 1}))
        await parts.settle()

        assert states(await parts.deliveries()) == ["done"]
        async with store.reading() as conn:
            effects = (await conn.execute(text("SELECT what FROM effects WHERE length(what) < 100"))).scalars().all()
    assert runs == [1, 2]
    assert effects == ["reserved", "paid"]
