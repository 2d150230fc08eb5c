"""A crowd of due retries does not hold up what has just come, nor the reverse: counted in batches, not in time."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.capability import handler
from hub.deliver.context import Context
from hub.event import Event, lane_of
from hub.store import tables as t
from hub.store.store import Store
from tests.integration.deliver.workshop import Journal, give, message, route, routing
from tests.support.parts import Parts, assemble
from tests.support.patience import until

BATCH = 50
ROUTES = routing(route("crowd", "note", match="crowd"), route("one", "note", match="one"))


@pytest.mark.parametrize(("crowd", "size", "one", "batches_max"), [("due", 10_000, "new", 2), ("new", 2_000, "due", 8)])
async def test_a_crowd_of_one_kind_does_not_hold_up_one_of_the_other(
    store: Store, crowd: str, size: int, one: str, batches_max: int
) -> None:
    journal, seen = Journal(), [0, 0]

    @handler
    async def note(event: Event, _: Context) -> None:
        journal.done(event.type, event.data["n"])

    async with assemble(store, ROUTES, {"note": note}, start=False) as parts:
        await give(parts, *(message("crowd", {"n": n, "key": f"k{n}"}) for n in range(size)))
        if crowd == "due":
            await let_wait(parts)
        await parts.start(batch_size=BATCH, sweep_s=0.05)
        try:
            assert parts.worker is not None
            run = parts.worker._runner.run

            async def counted(conn: AsyncConnection, works: Any, *rest: Any, **more: Any) -> Any:
                seen[0] += 1
                result = await run(conn, works, *rest, **more)
                if any(work.event.type == "one" for work in works):
                    seen[1] = seen[0]
                return result

            parts.worker._runner.run = counted  # type: ignore[method-assign]
            await until(lambda: seen[0] > 5, "the crowd to be under way")
            async with parts.worker._turn:
                await give(parts, message("one", {"n": 0, "key": "one"}), lanes=[lane_of("one")])
                if one == "due":
                    await let_wait(parts, "one")
                    await parts.worker._sweep()
                begun = seen[0]
            await until(lambda: journal.of("one") == [0])

            assert seen[1] - begun <= batches_max
            assert len(journal.of("crowd")) < size, "the crowd was still there"
        finally:
            await parts.stop()


async def let_wait(parts: Parts, type_: str = "crowd") -> None:
    """As if these deliveries had failed once, and their back-off were over."""
    due_at = parts.clock.now() - timedelta(seconds=1)
    mine = t.deliveries.c.event_seq.in_(select(t.inbox.c.seq).where(t.inbox.c.type == type_))

    async def work(conn: AsyncConnection) -> None:
        await conn.execute(update(t.deliveries).where(mine).values(state="retrying", attempts=1, next_at=due_at))
        chains = select(t.deliveries.c.chain, t.deliveries.c.lane, t.deliveries.c.id).where(mine)
        rows = [
            {"chain": row.chain, "lane": row.lane, "head": row.id, "state": "backoff", "next_at": due_at}
            for row in await conn.execute(chains)
        ]
        await conn.execute(insert(t.blocked), rows)

    await parts.store.write(work)
