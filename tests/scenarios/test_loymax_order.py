"""Order per customer: eight customers in parallel, hundreds of events each, in the queue of the downstream platform.

``HUB_TEST_LONG=1`` makes them a thousand.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from hub.operate.equation import check
from hub.store import tables as t
from hub.transports import Confirmed
from tests.scenarios.loymax import SMART_COMMUNICATIONS, Sample, accept, message_of
from tests.support.running import API_KEY, RunningHub, environment, running, until

CUSTOMERS = range(101, 109)
EVENTS = 1_000 if os.environ.get("HUB_TEST_LONG") == "1" else 300
POSTED = 100
"""Of each customer over HTTP, where every event waits for its commit."""
BATCH = 50
KEY = "customer.card.changeBlockState"
CEASED, SURVIVOR = 13, 11
MERGE = {"fromCustomerInfo": {"customerId": CEASED}, "toCustomerInfo": {"customerId": SURVIVOR}}


@pytest.fixture
async def hub(database_url: str, tmp_path: Path) -> AsyncIterator[RunningHub]:
    async with running(environment(tmp_path, database_url)) as hub:
        yield hub
        assert (await check(hub.hub.store)).violations == ()


async def test_posted_events_of_eight_parallel_customers_keep_their_order(hub: RunningHub) -> None:
    async def customer(number: int) -> None:
        for start in range(0, POSTED, BATCH):
            await post_batch(hub, [block_event(number, at) for at in range(start, start + BATCH)])

    await asyncio.gather(*(customer(number) for number in CUSTOMERS))

    assert await forwarded(hub, POSTED * len(CUSTOMERS)) == {number: list(range(POSTED)) for number in CUSTOMERS}


@pytest.mark.slow
async def test_published_events_of_eight_parallel_customers_keep_their_order(hub: RunningHub) -> None:
    async def customer(number: int) -> None:
        for start in range(0, EVENTS, BATCH):
            events = [block_event(number, at) for at in range(start, start + BATCH)]
            messages = [message_of(Sample("", KEY, json.dumps(one["data"]).encode()), str(one["id"])) for one in events]
            assert await hub.hub.transport.publish(messages) == [Confirmed()] * BATCH

    await asyncio.gather(*(customer(number) for number in CUSTOMERS))

    assert await forwarded(hub, EVENTS * len(CUSTOMERS)) == {number: list(range(EVENTS)) for number in CUSTOMERS}


async def test_a_merge_comes_after_what_came_before_it_of_both_members(hub: RunningHub) -> None:
    for number in range(50):
        for member in (CEASED, SURVIVOR):
            await accept(hub, KEY, {"customerInfo": {"customerId": member}, "number": number})
    await accept(hub, "customer.profile.merge", MERGE)
    for number in range(50, 60):
        await accept(hub, KEY, {"customerInfo": {"customerId": SURVIVOR}, "number": number})

    await forwarded_rows(hub, 111)

    before, after = around_the_merge(await hub.queue(SMART_COMMUNICATIONS))
    assert before == {CEASED: list(range(50)), SURVIVOR: list(range(50))}
    assert after == {SURVIVOR: list(range(50, 60))}


async def test_a_merge_waits_for_what_is_still_to_be_sent_of_the_member_that_ceases(
    database_url: str, tmp_path: Path
) -> None:
    environ = environment(tmp_path, database_url)
    async with running(environ, roles=("ingress", "worker")) as hub:
        for number in range(60):
            await accept(hub, KEY, {"customerInfo": {"customerId": CEASED}, "number": number})
        # So many others that the relay takes only a little of each at a time.
        await asyncio.gather(*(accept(hub, KEY, {"customerInfo": {"customerId": 1_000 + n}}) for n in range(240)))
        await all_delivered(hub)
        await accept(hub, "customer.profile.merge", MERGE)

    async with running(environ) as hub:
        await forwarded_rows(hub, 301)

        before, after = around_the_merge(await hub.queue(SMART_COMMUNICATIONS))
        assert (before[CEASED], after) == (list(range(60)), {})


def block_event(customer: int, number: int) -> dict[str, Any]:
    body = {"targetBlockState": number % 2 == 0, "customerInfo": {"customerId": customer}, "number": number}
    return {"specversion": "1.0", "source": "loymax", "type": KEY, "id": f"{customer}-{number}", "data": body}


async def post_batch(hub: RunningHub, events: Sequence[Mapping[str, Any]]) -> None:
    headers = {"Content-Type": "application/cloudevents-batch+json", "Authorization": f"Bearer {API_KEY}"}
    status, answer = await hub.post("/events", json.dumps(events).encode(), **headers)
    assert (status, {one["kind"] for one in answer}) == (202, {"event"})


async def forwarded(hub: RunningHub, count: int) -> dict[int, list[int]]:
    """Customer → the numbers of the events in the platform's queue, in its order, once all have come."""
    await forwarded_rows(hub, count)
    found: dict[int, list[int]] = {}
    for row in await hub.queue(SMART_COMMUNICATIONS):
        body = json.loads(row.payload)
        found.setdefault(body["customerInfo"]["customerId"], []).append(body["number"])
    return found


async def forwarded_rows(hub: RunningHub, count: int) -> None:
    query = select(func.count()).where(t.local_messages.c.queue == SMART_COMMUNICATIONS)

    async def number() -> int:
        async with hub.hub.store.reading() as conn:
            return int(await conn.scalar(query) or 0)

    async def all_came() -> bool:
        return await number() >= count

    async def moves() -> object:
        return await number(), await hub.progress()

    await until(all_came, f"{count} messages", pause_s=0.05, moves=moves)
    await hub.settled()


async def all_delivered(hub: RunningHub) -> None:
    query = select(func.count()).where(t.deliveries.c.state != "done")

    async def none_left() -> bool:
        async with hub.hub.store.reading() as conn:
            return await conn.scalar(query) == 0

    await until(none_left, "every delivery to be done", moves=hub.progress)


def around_the_merge(rows: Sequence[Any]) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """Member → the numbers of the events before the merge in the queue, and the same for those behind it."""
    sides: tuple[dict[int, list[int]], dict[int, list[int]]] = ({}, {})
    is_behind = False
    for row in rows:
        if row.routing_key == "customer.profile.merge":
            is_behind = True
            continue
        body = json.loads(row.payload)
        if "number" in body:
            sides[is_behind].setdefault(body["customerInfo"]["customerId"], []).append(body["number"])
    return sides
