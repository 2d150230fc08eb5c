"""A commit whose answer is lost on the way has happened all the same: nothing of it is done again."""

from __future__ import annotations

from typing import Any

import pytest

from hub.capability import calls
from hub.deliver.context import Context
from hub.errors import StoreUnavailableError
from hub.event import Event
from hub.store import tables as t
from hub.store.store import Store
from tests.support.parts import assemble
from tests.support.running import until

ROUTE = """
destinations: { out: { queue: out } }
routes:
  - { name: pay, match: pay, handle: test.pay, publish: out, retry: { attempts: 3, first: 0.1s, longest: 0.1s } }
"""


async def test_a_call_whose_end_was_committed_unheard_is_not_run_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    unheard: list[bool] = []
    transaction = store._transaction

    async def losing_the_answer(*given: Any, **more: Any) -> Any:
        result = await transaction(*given, **more)
        if unheard:
            unheard.clear()
            raise StoreUnavailableError("the connection was lost", delay_s=0.1)
        return result

    @calls("provider")
    async def pay(event: Event, ctx: Context) -> None:
        ran.append("once")
        await ctx.publish({"paid": True})
        await ctx.begin()
        unheard.append(True)

    monkeypatch.setattr(store, "_transaction", losing_the_answer)
    async with assemble(store, ROUTE, {"pay": pay}) as parts:
        await parts.send("pay")
        await parts.settle()
        worker = parts.worker
        assert worker is not None
        # It is done in the database before its task knows.
        await until(lambda: not worker.callers.in_flight)
        await parts.settle()

        assert ran == ["once"]
        assert [(row.state, row.attempts) for row in await parts.deliveries()] == [("done", 1)]
        assert len(await parts.rows(t.outbox)) == 1
