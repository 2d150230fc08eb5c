"""Calls that are left without an outcome: those that somebody has answered for, and those that a person must see to."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import Row, event, text

from hub.errors import UsageError
from hub.operate.closing import close_answered, close_calls
from hub.operate.parked import retry_rows
from hub.operate.undecided import count_late, list_undecided, read_ages
from hub.operate.watch import ListsWatch
from hub.seal.verifying import verify_seal
from hub.store import tables as t
from hub.store.store import Store
from tests.integration.operate.desk import NOTE, Desk
from tests.integration.retention.archivist import call_of
from tests.integration.seal.till import seal_all
from tests.support.clock import SettableClock

DAY_S = 86_400.0
CASES = [(delivery, call) for delivery in ("done", "discarded", "parked") for call in ("started", "pending", "unknown")]
ANSWERED = {("done", "pending"), ("done", "unknown")}


@pytest.fixture
async def desk(store: Store, clock: SettableClock) -> Desk:
    made = Desk(store, clock)
    await made.use(NOTE)
    return made


async def called(desk: Desk, number: int, delivery_state: str, call_state: str) -> UUID:
    """An event whose delivery has come to this, with a call that was left like that."""
    event = await desk.event(number, key=f"customer-{number}")
    await desk.put(event, delivery_state)
    [row] = await desk.deliveries(event)
    await desk.add(t.calls, call_of(row.id, desk.clock.now(), call_state, provider="till"))
    return event


async def all_cases(desk: Desk) -> dict[UUID, tuple[str, str]]:
    made = {await called(desk, number, *case): case for number, case in enumerate(CASES, 1)}
    await called(desk, 99, "done", "settled")
    desk.clock.advance(DAY_S)
    return made


async def closed(desk: Desk) -> list[Row[Any]]:
    return [row for row in await desk.rows(t.calls) if row.closed_at is not None]


async def test_what_nobody_has_answered_for_is_listed_and_counted_and_the_rest_is_closed(desk: Desk) -> None:
    made = await all_cases(desk)
    left = {event for event, case in made.items() if case not in ANSWERED}

    await ListsWatch(desk.store, desk.clock).look()

    listed = await list_undecided(desk.store)
    assert {one.event_id for one in listed} == left
    assert {one.event_id for one in listed if one.is_over} == {event for event in left if made[event][0] != "parked"}
    for state in ("started", "pending", "unknown"):
        count = sum(call == state for delivery, call in CASES if (delivery, call) not in ANSWERED)
        assert REGISTRY.get_sample_value("hub_calls_undecided", {"provider": "till", "state": state}) == count
    async with desk.store.reading() as conn:
        assert await count_late(conn, desk.clock.now()) == len(left)
        assert [one.late for one in await read_ages(conn, desk.clock.now())] == [len(left)]
    assert {row.state for row in await closed(desk)} == {"pending", "unknown"}
    assert len(await closed(desk)) == len(ANSWERED)


async def test_many_are_closed_by_several_at_once_and_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.operate.closing.CLOSED_TOGETHER", 2)
    for number in range(1, 6):
        await called(desk, number, "done", "pending")

    done = await asyncio.gather(*(close_answered(desk.store, desk.clock) for _ in range(3)))
    done += [await close_answered(desk.store, desk.clock)]

    assert (sum(done), len(await closed(desk))) == (5, 5)


async def test_a_person_says_what_became_of_a_call_and_nothing_runs(desk: Desk) -> None:
    event, other = await called(desk, 1, "done", "started"), await called(desk, 2, "discarded", "unknown")
    before = await desk.rows(t.deliveries)

    with pytest.raises(UsageError, match="expected a reason"):
        await close_calls(desk.store, desk.clock, str(event), actor="ana", reason=" ")
    [one] = await close_calls(desk.store, desk.clock, str(event), actor="ana", reason="it was paid")

    assert (one.event_id, one.step, one.state) == (event, "give", "started")
    assert [each.event_id for each in await list_undecided(desk.store)] == [other]
    assert await desk.rows(t.deliveries) == before
    [word] = await desk.rows(t.operations)
    assert (word.actor, word.action, word.target, word.reason) == ("ana", "call.close", str(event), "it was paid")
    with pytest.raises(UsageError, match="or somebody has answered for it"):
        await close_calls(desk.store, desk.clock, str(event), actor="ana", reason="again")


async def test_a_call_whose_delivery_goes_on_is_not_closed_by_a_person(desk: Desk) -> None:
    event = await called(desk, 1, "parked", "unknown")

    with pytest.raises(UsageError, match="goes on and asks the provider itself"):
        await close_calls(desk.store, desk.clock, str(event), actor="ana", reason="it was paid")

    assert await closed(desk) == []


async def test_what_runs_again_has_nothing_that_a_person_has_closed(desk: Desk) -> None:
    event = await called(desk, 1, "refused", "unknown")
    await close_calls(desk.store, desk.clock, str(event), actor="ana", reason="it was paid")
    assert len(await closed(desk)) == 1

    refused = await desk.deliveries(event)
    await desk.store.write(lambda conn: retry_rows(conn, desk.clock, refused))

    assert await closed(desk) == []


async def test_a_seal_holds_when_calls_are_closed_after_it(desk: Desk) -> None:
    await called(desk, 1, "done", "pending")
    left = await called(desk, 2, "done", "started")
    await seal_all(desk.store, desk.clock)

    assert await close_answered(desk.store, desk.clock) == 1
    await close_calls(desk.store, desk.clock, str(left), actor="ana", reason="it was paid")

    report = await verify_seal(desk.store)
    assert (report.findings, sum(report.unsealed.values())) == ([], 0)
    assert len(await closed(desk)) == 2


async def test_the_list_is_read_by_the_index_that_holds_nothing_closed(desk: Desk) -> None:
    if desk.store.dialect == "postgresql":
        async with desk.store.reading() as conn:
            found = await conn.scalar(text("SELECT indexdef FROM pg_indexes WHERE indexname = 'ix_calls_unclosed'"))
        assert found is not None
        assert "closed_at IS NULL" in found
        return
    asked: list[tuple[str, Any]] = []

    def listen(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked.append((statement, parameters))

    event.listen(desk.store.reader.sync_engine, "before_cursor_execute", listen)
    await list_undecided(desk.store)
    [(statement, parameters)] = [one for one in asked if "FROM calls" in one[0]]

    async with desk.store.reading() as conn:
        plan = (await conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)).all()
    assert any("ix_calls_unclosed" in row.detail for row in plan)
