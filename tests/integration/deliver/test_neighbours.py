"""What one handler is refused hurts its own delivery, and a round whose commit is under way is waited for."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from hub.capability import handler
from hub.deliver.context import Context
from hub.errors import StoreUnavailableError
from hub.event import Event
from hub.store.store import Store
from tests.integration.deliver.workshop import route, routing
from tests.support.parts import assemble
from tests.support.running import until


async def test_a_handler_whose_own_database_is_away_holds_up_nobody_else(store: Store) -> None:
    @handler
    async def ask(event: Event, _: Context) -> None:
        if event.key == "unlucky":
            raise StoreUnavailableError("the other database is away", delay_s=0.01)

    async with assemble(store, routing(route("ask", "ask")), {"ask": ask}) as parts:
        await parts.send("a.b", {"key": "unlucky"}, message_id="1")
        for number in range(5):
            await parts.send("a.b", {"key": f"k{number}"}, message_id=f"m{number}")

        async def others_done() -> bool:
            return await parts.count("done") == 5

        await until(others_done)
        [unlucky] = [row for row in await parts.deliveries() if row.state != "done"]
        # It is nobody's fault, so no attempt is used up however long it lasts.
        assert (unlucky.state, unlucky.attempts) == ("retrying", 0)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_round_waits_for_an_earlier_one_whose_commit_is_not_over(store: Store) -> None:
    @handler
    async def note(event: Event, _: Context) -> None:
        return None

    async with assemble(store, routing(route("note", "note")), {"note": note}) as parts:
        assert parts.holding is not None
        key = parts.holding.fence.worker_id.int >> 65
        async with store.writer.begin() as earlier:
            await earlier.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
            await parts.send("a.b", {"key": "k"}, message_id="1")
            waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")

            async def is_waiting() -> bool:
                return bool(await earlier.scalar(waiting))

            await until(is_waiting)
            assert await parts.count("ready") == 1

        await parts.settle()
        assert await parts.count("done") == 1
