"""The counting equation holds for what the hub does, and finds what it never does."""

from __future__ import annotations

from uuid import uuid4

import pytest
from sqlalchemy import Table

from hub.inbox.rows import UNREADABLE_ROUTE_ID
from hub.operate.equation import EquationReport, check
from hub.store import tables as t
from tests.integration.operate.desk import COPY, NOTE, Desk
from tests.integration.operate.test_parked import BROKEN

ORDER = {"id": "order-1", "type": "order.made", "key": "customer-1", "amount": 5}


def sorts(report: EquationReport) -> set[str]:
    return {one.sort for one in report.violations}


async def test_every_message_is_counted_once_as_what_it_became(desk: Desk) -> None:
    await desk.accept(ORDER, ORDER, {**ORDER, "amount": 6}, BROKEN, BROKEN, {**ORDER, "id": "x", "type": "odd"})
    parked, applied = await desk.event(2), await desk.event(3, key="customer-2")
    await desk.park(parked)
    await desk.put(applied, "done")

    report = await check(desk.store)

    assert report.violations == ()
    [shop] = report.sources
    assert (shop.received, shop.duplicates, shop.conflicts, shop.events) == (8, 2, 1, 5)
    assert report.received == 8
    assert {name: count for name, count in report.states.items() if count} == {
        "parked": 2,
        "waiting": 1,
        "applied": 1,
        "unmatched": 1,
    }


async def test_an_event_is_in_the_most_pressing_state_of_its_deliveries(desk: Desk) -> None:
    event = await desk.event(type_="order.paid", amount=50)
    await desk.put(event, "done")
    seen = []
    for state in ("done", "discarded", "refused", "deferred", "parked"):
        [_, second] = await desk.deliveries(event)
        finished = None if state in t.OPEN_STATES else desk.clock.now()
        await desk.change(t.deliveries, t.deliveries.c.id == second.id, state=state, finished_at=finished)
        report = await check(desk.store)
        seen += [name for name, count in report.states.items() if count]

    assert seen == ["applied", "discarded", "refused", "waiting", "parked"]


async def test_a_lost_event_is_missed(desk: Desk) -> None:
    await desk.event(1)
    await desk.event(2)
    await desk.change(t.inbox, t.inbox.c.dedupe_id == "order-2")

    report = await check(desk.store)

    assert not report.holds
    assert {"received", "delivery without an event", "event of an identity"} <= sorts(report)
    assert "source shop: expected 2 received, found 0 duplicates + 0 conflicts + 1 events" in str(report.violations[0])


@pytest.mark.parametrize(
    ("table", "values", "expected"),
    [
        (t.deliveries, {"state": "waiting"}, "waiting delivery"),
        (t.deliveries, {"state": "done"}, "end of a delivery"),
        (t.deliveries, {"state": "deferred"}, "deferred delivery"),
        (t.deliveries, {"route_id": 7}, "number of a delivery"),
        (t.inbox, {"matches": 2}, "deliveries of an event"),
        (t.inbox, {"problem": "line 1"}, "unreadable event"),
        (t.identities, {"event_id": uuid4()}, "identity of an event"),
        (t.deliveries, {}, "deliveries of an event"),
    ],
)
async def test_a_row_changed_behind_the_hubs_back_is_found(
    desk: Desk, table: Table, values: dict[str, object], expected: str
) -> None:
    await desk.event()
    assert (await check(desk.store)).holds

    await desk.change(table, **values)

    assert expected in sorts(await check(desk.store))


async def test_a_chain_that_nobody_looks_at_again_is_found(desk: Desk) -> None:
    parked, due = await desk.event(1), await desk.event(2, key="customer-2")
    await desk.park(parked)
    await desk.put(due, "retrying")
    assert (await check(desk.store)).holds

    await desk.change(t.blocked, t.blocked.c.state == "backoff", next_at=None)
    await desk.change(t.deliveries, t.deliveries.c.event_id == parked, state="retrying")

    assert sorts(await check(desk.store)) == {"next look at a chain", "stopped chain"}


async def test_what_a_finished_delivery_leaves_behind_is_found(desk: Desk) -> None:
    event = await desk.event(after="customer-2")
    await desk.park(event)
    await desk.put(event, "done")
    [row] = await desk.deliveries(event)
    call = {
        "delivery_id": row.id,
        "step": "give",
        "number": 1,
        "provider": "bank",
        "key": "k",
        "request_hash": b"h" * 16,
    }
    await desk.add(t.calls, {**call, "state": "started", "started_at": desk.clock.now(), "lookups": 0})

    report = await check(desk.store)

    assert sorts(report) == {"barrier", "blocked chain", "stopped chain", "call of a finished delivery"}


async def test_a_pseudo_delivery_without_its_problem_is_found(desk: Desk) -> None:
    await desk.accept(BROKEN)

    await desk.change(t.inbox, problem=None)

    assert sorts(await check(desk.store)) == {"readable event"}
    assert [row.route_id for row in await desk.rows(t.deliveries)] == [UNREADABLE_ROUTE_ID]


async def test_an_empty_database_adds_up(desk: Desk) -> None:
    await desk.use(NOTE, COPY)

    report = await check(desk.store)

    assert report.holds
    assert (report.received, report.sources) == (0, ())
