"""A handler stands in for a source: what it fetched goes by that source's rules and under that source's identity."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hub.capability import handler
from hub.event import Event, Verdict
from hub.inbox.received import Received
from hub.inbox.route_ids import register_routes
from hub.store import tables as t
from hub.store.store import Store
from tests.support.clock import SettableClock
from tests.support.parts import Parts, wiring_of

if TYPE_CHECKING:
    from hub.deliver.context import Context

ROUTING = """
version: 1
sources:
  shop:
    queue: { name: shop.in }
    event: { type: routing_key }
  bank:
    queue: { name: bank.in }
    event: { type: bank.transfer, id: data.id, key: data.payer, same: [data.id, data.amount] }
routes:
  - { name: fetch, match: fetch.now, source: shop, handle: test.fetch }
  - { name: book, match: bank.transfer, source: bank, handle: test.book }
"""
TRANSFER = {"id": 7, "payer": "ann", "amount": 500}


@handler
async def fetch(event: Event, ctx: Context) -> None:
    for body in event.data["found"]:
        await ctx.accept("bank", body)
    if event.data.get("fails"):
        raise RuntimeError("after it has accepted")


@handler
async def book(event: Event, ctx: Context) -> None:
    ctx.conclude(f"booked {event.data['amount']} of {event.key}")


async def started(store: Store, clock: SettableClock) -> Parts:
    wiring = wiring_of(ROUTING, {"fetch": fetch, "book": book}, clock)
    rules = wiring.rules(await store.write(lambda conn: register_routes(conn, wiring.router.routes)))
    parts = Parts(store, wiring, rules, clock, {})
    await parts.start()
    return parts


async def bank_says(parts: Parts, body: dict[str, Any]) -> str:
    answer = await parts.inbox.accept(Received(source="bank", body=json.dumps(body).encode()))
    return answer.kind


async def booked(parts: Parts) -> list[str]:
    return [row.outcome for row in await parts.deliveries() if row.route == "book"]


async def test_what_was_fetched_goes_the_way_of_its_source(store: Store, clock: SettableClock) -> None:
    parts = await started(store, clock)
    try:
        await parts.send("fetch.now", {"found": [TRANSFER, {**TRANSFER, "id": 8}]})
        await parts.settle()

        assert await booked(parts) == ["booked 500 of ann"] * 2
        fetched = [row for row in await parts.rows(t.inbox) if row.source == "bank"]
        asking = next(row for row in await parts.rows(t.inbox) if row.source == "shop")
        assert {(row.type, row.verdict) for row in fetched} == {("bank.transfer", str(Verdict.TRUSTED))}
        assert {row.traceparent for row in fetched} == {asking.traceparent}
    finally:
        await parts.stop()


async def test_whichever_comes_second_is_the_duplicate(store: Store, clock: SettableClock) -> None:
    parts = await started(store, clock)
    try:
        await bank_says(parts, TRANSFER)
        await parts.send("fetch.now", {"found": [TRANSFER, {**TRANSFER, "id": 8}, {**TRANSFER, "amount": 9}]})
        await parts.settle()
        late = await bank_says(parts, {**TRANSFER, "id": 8})
        await parts.settle()

        assert late == "duplicate"
        assert await booked(parts) == ["booked 500 of ann"] * 2
        assert (len(await parts.rows(t.duplicates)), len(await parts.rows(t.conflicts))) == (2, 1)
    finally:
        await parts.stop()


async def test_a_handler_that_fails_has_accepted_nothing(store: Store, clock: SettableClock) -> None:
    parts = await started(store, clock)
    try:
        await parts.send("fetch.now", {"found": [TRANSFER], "fails": True})
        await parts.settle(also=frozenset({"retrying"}))

        assert await booked(parts) == []
        assert await bank_says(parts, TRANSFER) == "event"
    finally:
        await parts.stop()
