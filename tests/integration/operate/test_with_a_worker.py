"""What operators do while a worker delivers: nothing is left waiting, nothing runs twice."""

from __future__ import annotations

import asyncio
import json
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from hub.capability import handler
from hub.deliver.context import Context
from hub.deliver.picker import pick
from hub.errors import PermanentError
from hub.event import Event
from hub.inbox.received import Received
from hub.inbox.rows import store_drafts
from hub.operate.equation import check
from hub.operate.parked import discard, edit, list_parked, retry
from hub.operate.reading import TodaysRules
from hub.ownership.holding import DELIVER
from hub.store import tables as t
from hub.store.store import Store
from tests.support.owning import alone
from tests.support.parts import Parts, assemble
from tests.support.patience import until

ROUTES = """
routes:
  - { name: note, match: '#', handle: test.note }
"""


@handler
async def note(event: Event, ctx: Context) -> None:
    if event.data.get("poison"):
        raise PermanentError("poison")
    ctx.tag("noted", str(event.seq))


async def _send(parts: Parts, number: int, *, poison: bool = False) -> UUID:
    body = {"key": "customer-1", "poison": poison}
    return (await parts.send("order.made", body, message_id=str(number))).event_id


async def _parked(parts: Parts) -> str:
    await until(lambda: list_parked(parts.store), "a parked delivery")
    return str((await list_parked(parts.store))[0].event_id)


async def test_a_corrected_head_runs_first_and_then_all_that_waited(store: Store) -> None:
    async with assemble(store, ROUTES, {"note": note}) as parts:
        events = [await _send(parts, number, poison=number == 0) for number in range(20)]
        head = await _parked(parts)
        rules = TodaysRules(parts.wiring.drafter, parts.rules.route_ids)

        await edit(store, parts.clock, head, b'{"key": "customer-1"}', actor="ana", reason="cured", rules=rules)
        await parts.settle()

        rows = await parts.deliveries()
        assert [row.state for row in rows] == ["done"] * 20
        assert rows[0].event_id == events[0]
        assert all(rows[0].finished_at <= row.finished_at for row in rows)
        assert len(await parts.rows(t.tags)) == 20
    assert (await check(store)).violations == ()


async def test_a_retry_of_what_still_fails_parks_it_again(store: Store) -> None:
    async with assemble(store, ROUTES, {"note": note}) as parts:
        await _send(parts, 0, poison=True)
        behind = await _send(parts, 1)
        head = await _parked(parts)

        await retry(store, parts.clock, head, actor="ana")
        await parts.settle(also=frozenset({"waiting"}))

        assert await _parked(parts) == head
        assert [row.state for row in await parts.deliveries(behind)] != ["done"]
        assert len(await parts.rows(t.attempts)) == 2
    assert (await check(store)).violations == ()


async def test_discards_while_events_keep_coming_leave_nothing_waiting(store: Store) -> None:
    async with assemble(store, ROUTES, {"note": note}) as parts:
        sending = asyncio.create_task(_send_many(parts, 32))
        discarded = 0
        while not sending.done() or await parts.count("ready", "waiting", "retrying", "parked"):
            for one in await list_parked(store):
                await discard(store, parts.clock, str(one.delivery_id), actor="ana", reason="poison")
                discarded += 1
            await asyncio.sleep(0.002)

        await sending
        assert (discarded, await parts.count("done")) == (8, 24)
    assert (await check(store)).violations == ()


async def test_a_chain_released_while_a_worker_lets_a_delivery_wait_for_it_goes_on(store: Store) -> None:
    async with assemble(store, ROUTES, {"note": note}) as parts:
        await _send(parts, 0, poison=True)
        head = await _parked(parts)
    async with assemble(store, ROUTES, {"note": note}, start=False) as parts:
        holding = (await alone(store, parts.clock)).holdings[DELIVER]
        behind = await _store(parts, {"key": "customer-1"})
        acting: list[asyncio.Task[object]] = []

        async def batch(conn: AsyncConnection) -> None:
            picked = await pick(conn, sorted(holding.lanes), limit=10, now=parts.clock.now())
            await picked.waits.write(conn)
            acting.append(asyncio.create_task(discard(store, parts.clock, head, actor="ana", reason="poison")))
            # Long enough to be done, had it not to wait for this transaction.
            await asyncio.wait(acting, timeout=0.3)

        await store.write(batch, fence=holding.fence)
        await acting[0]

        assert [row.state for row in await parts.deliveries(behind)] == ["waiting"]
        assert [row.state for row in await parts.rows(t.blocked)] == ["backoff"]
    assert (await check(store)).violations == ()


async def _store(parts: Parts, body: dict[str, object]) -> UUID:
    """Accept without a worker that would deliver."""
    draft = parts.wiring.drafter.draft(
        Received(source="shop", body=json.dumps(body).encode(), routing_key="order.made", message_id="direct")
    )
    [(accepted, _)] = await parts.store.write(
        lambda conn: store_drafts(conn, [draft], route_ids=parts.rules.route_ids, now=parts.clock.now())
    )
    return accepted.event_id


async def _send_many(parts: Parts, count: int) -> None:
    for number in range(count):
        await _send(parts, number, poison=number % 4 == 0)
        await asyncio.sleep(0.003)
