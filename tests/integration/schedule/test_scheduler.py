"""Time: timers and schedules become events once, whatever came between."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal
from typing import Any, TypeVar

import pytest
from sqlalchemy import event, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.errors import StoreUnavailableError
from hub.event import new_traceparent
from hub.jsonbody import parse_json
from hub.store import tables as t
from hub.store.store import Store, Work
from tests.support.clock import START, SettableClock
from tests.support.parts import Parts, assemble

T = TypeVar("T")

ROUTES = """
schedules:
  sweep: { every: 60s, emit: sweep.due, catch_up: CATCH_UP, data: { limit: 10.50 } }
destinations:
  sweeps: { queue: sweeps }
routes:
  - { name: forward, match: '#', publish: sweeps }
"""
MINUTE_S = 60.0


class FailsToCommit(Store):
    """The database goes away whenever a transaction is to be committed."""

    async def write(self, work: Work[T], **how: Any) -> T:
        async def failing(conn: AsyncConnection) -> T:
            await work(conn)
            raise StoreUnavailableError("gone")

        return await super().write(failing, **how)


def routes(catch_up: str = "last") -> str:
    return ROUTES.replace("CATCH_UP", catch_up)


async def add_timers(store: Store, clock: SettableClock, *delays_s: float, payload: bytes = b"{}") -> None:
    rows = [
        {
            "id": clock.new_id(),
            "due_at": clock.now() + timedelta(seconds=delay_s),
            "type": "poll.due",
            "key": "customer-1",
            "dedupe_id": f"timer {number}",
            "payload": payload,
            "traceparent": new_traceparent(),
            "hops": 1,
        }
        for number, delay_s in enumerate(delays_s)
    ]

    async def work(conn: AsyncConnection) -> None:
        await conn.execute(insert(t.timers), rows)

    await store.write(work)


async def fire_sweep(parts: Parts) -> int:
    return await parts.scheduler.fire_schedule("sweep", parts.wiring.schedules["sweep"])


async def test_only_timers_that_are_due_become_events_and_wake_their_lanes(store: Store) -> None:
    clock = SettableClock()
    async with assemble(store, routes(), {}, clock=clock, start=False) as parts:
        await add_timers(store, clock, 5.0, 10.0, 3_600.0)
        clock.advance(10.0)

        fired = await parts.scheduler.fire_timers()

        events = await parts.rows(t.inbox)
        assert fired == 2
        assert [(one.source, one.type, one.dedupe_id) for one in events] == [
            ("timer", "poll.due", "timer 0"),
            ("timer", "poll.due", "timer 1"),
        ]
        assert [one.dedupe_id for one in await parts.rows(t.timers)] == ["timer 2"]
        assert parts.to_deliver


async def test_a_timer_that_is_not_json_is_an_event_like_any_other(store: Store) -> None:
    clock = SettableClock()
    async with assemble(store, routes(), {}, clock=clock, start=False) as parts:
        await add_timers(store, clock, 0.0, payload=b"\xff no JSON")

        fired = await parts.scheduler.fire_timers()

        assert fired == 1
        assert [one.payload for one in await parts.rows(t.inbox)] == [b"\xff no JSON"]


async def test_two_replicas_turn_each_timer_into_one_event(store: Store) -> None:
    clock = SettableClock()
    async with assemble(store, routes(), {}, clock=clock, start=False) as parts:
        other = Parts(store, parts.wiring, parts.rules, clock, {})
        await add_timers(store, clock, *(0.0 for _ in range(450)))

        fired = await asyncio.gather(parts.scheduler.fire_timers(), other.scheduler.fire_timers())

        assert sum(fired) == len(await parts.rows(t.inbox)) == 450
        assert await parts.rows(t.timers) == await parts.rows(t.duplicates) == []


async def test_no_lane_is_named_for_an_event_whose_commit_failed(store: Store) -> None:
    clock = SettableClock()
    async with assemble(store, routes(), {}, clock=clock, start=False) as parts:
        await fire_sweep(parts)
        await add_timers(store, clock, 0.0)
        clock.advance(MINUTE_S)
        unlucky = Parts(FailsToCommit(store.writer, store.reader), parts.wiring, parts.rules, clock, {})

        with pytest.raises(StoreUnavailableError):
            await unlucky.scheduler.fire_timers()
        with pytest.raises(StoreUnavailableError):
            await fire_sweep(unlucky)

        assert not unlucky.to_deliver
        assert await parts.rows(t.inbox) == []


async def test_after_a_downtime_catch_up_says_which_instants_become_events(store: Store) -> None:
    expected = {"last": [3], "all": [1, 2, 3], "none": [3]}
    for catch_up, minutes in expected.items():
        clock = SettableClock()
        async with assemble(store, routes(catch_up), {}, clock=clock, start=False) as parts:
            await _forget(store)
            await fire_sweep(parts)
            clock.advance(3 * MINUTE_S)

            await fire_sweep(parts)

            instants = [START + timedelta(minutes=minute) for minute in minutes]
            assert [one.dedupe_id for one in await parts.rows(t.inbox)] == [one.isoformat() for one in instants], (
                catch_up
            )


async def test_an_instant_that_two_replicas_see_is_one_event_with_its_data_exactly(store: Store) -> None:
    clock = SettableClock()
    async with assemble(store, routes(), {}, clock=clock, start=False) as parts:
        other = Parts(store, parts.wiring, parts.rules, clock, {})
        await fire_sweep(parts)
        clock.advance(MINUTE_S)

        await asyncio.gather(fire_sweep(parts), fire_sweep(other))

        (event,) = await parts.rows(t.inbox)
        assert (event.source, event.type) == ("schedule.sweep", "sweep.due")
        assert b"10.50" in event.payload
        assert parse_json(event.payload)["limit"] == Decimal("10.50")


async def test_a_clock_that_goes_back_brings_no_instant_again(store: Store) -> None:
    clock = SettableClock()
    async with assemble(store, routes("all"), {}, clock=clock, start=False) as parts:
        await fire_sweep(parts)
        clock.advance(2 * MINUTE_S)
        await fire_sweep(parts)
        clock.set(START + timedelta(seconds=MINUTE_S))

        again = await fire_sweep(parts)

        assert again == 0
        assert len(await parts.rows(t.inbox)) == 2


async def _forget(store: Store) -> None:
    async def work(conn: AsyncConnection) -> None:
        for table in (t.inbox, t.identities, t.deliveries, t.schedules):
            await conn.execute(table.delete())

    await store.write(work)


async def test_a_schedule_is_not_asked_for_before_it_is_due_again(store: Store) -> None:
    clock = SettableClock()
    async with assemble(store, routes(), {}, clock=clock, start=False) as parts:
        await fire_sweep(parts)
        asked: list[str] = []

        def note(_conn: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
            asked.append(statement)

        event.listen(store.reader.sync_engine, "before_cursor_execute", note)
        assert await fire_sweep(parts) == 0
        assert asked == []
        clock.advance(MINUTE_S)
        assert await fire_sweep(parts) == 1
        assert await fire_sweep(parts) == 0
