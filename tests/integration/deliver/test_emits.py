"""What deliveries set going: events, timers and messages, each once and under a stable name."""

from __future__ import annotations

import asyncio
import json
from functools import partial

from sqlalchemy import select

from hub.capability import handler
from hub.deliver.context import Context
from hub.errors import NotYet
from hub.event import Event
from hub.inbox.drafting import HOPS_MAX
from hub.schedule.scheduler import Scheduler
from hub.store import tables as t
from hub.store.store import Store
from tests.integration.deliver.workshop import Journal, give, message, route, routing, states
from tests.support.clock import SettableClock
from tests.support.parts import Parts, assemble, crash
from tests.support.patience import until


async def test_an_emitted_event_is_stored_once_and_delivered_with_its_trace(store: Store) -> None:
    seen: list[Event] = []

    @handler
    async def make(event: Event, ctx: Context) -> None:
        await ctx.emit("made", {"n": 1}, key="k")

    @handler
    async def see(event: Event, _: Context) -> None:
        seen.append(event)

    routes = routing(route("make", "make", match="a"), route("see", "see", match="made"))
    async with assemble(store, routes, {"make": make, "see": see}) as parts:
        [first] = await give(parts, message("a", {}))
        await until(lambda: len(seen) == 1)
        await parts.settle()

        [made] = seen
        [origin] = [row for row in await parts.rows(t.inbox) if row.id == first]
        assert (made.source, made.key, made.hops, made.data) == ("internal", "k", 1, {"n": 1})
        assert made.trace_id == origin.traceparent[3:35]
        assert [row.cause for row in await parts.rows(t.inbox) if row.id == made.id] == [first]


async def test_names_stay_the_same_however_often_a_delivery_is_tried(store: Store) -> None:
    names: list[list[str]] = []

    @handler
    async def make(event: Event, ctx: Context) -> None:
        await ctx.emit("made", {"n": 1})
        await ctx.emit("made", {"n": 2})
        ids = [await ctx.publish({"n": 1}, to="out"), await ctx.publish({"n": 2}, to="out")]
        await ctx.after(60, "later", {})
        names.append([*(str(draft.dedupe_id) for draft in (one.event for one in ctx.effects.drafts)), *ids])
        if len(names) < 3:
            raise RuntimeError("not this time")

    async with assemble(
        store, routing(route("make", "make", match="a"), destinations=["out"]), {"make": make}
    ) as parts:
        await give(parts, message("a", {}))
        await parts.settle()

        assert names[0] == names[1] == names[2]
        assert len(set(names[0])) == 4
        assert len(await parts.rows(t.inbox)) == 3
        assert sorted(row.message_id for row in await parts.rows(t.outbox)) == sorted(names[0][2:])
        assert len(await parts.rows(t.timers)) == 1


async def test_after_a_crash_before_the_commit_nothing_is_there_twice(store: Store) -> None:
    reached, tries = asyncio.Event(), []

    @handler
    async def make(event: Event, ctx: Context) -> None:
        await ctx.emit("made", {"n": 1})
        await ctx.publish({"n": 1}, to="out")
        tries.append(1)
        if len(tries) == 1:
            reached.set()
            await asyncio.sleep(60)

    routes = routing(route("make", "make", match="a"), destinations=["out"])
    async with assemble(store, routes, {"make": make}, start=False) as parts:
        await parts.start()
        await give(parts, message("a", {}))
        await reached.wait()
        await crash(parts)
        assert await parts.rows(t.outbox) == []
    async with assemble(store, routes, {"make": make}) as parts:
        await parts.settle()

        assert len(await parts.rows(t.outbox)) == 1
        assert sorted(row.type for row in await parts.rows(t.inbox)) == ["a", "made"]


async def test_an_emission_under_a_business_name_is_one_event_whoever_makes_it(store: Store) -> None:
    @handler
    async def make(event: Event, ctx: Context) -> None:
        await ctx.emit("made", {"order": 7}, dedupe_id="order-7")

    async with assemble(store, routing(route("make", "make", match="a")), {"make": make}) as parts:
        await give(parts, *(message("a", {}) for _ in range(3)))
        await parts.settle()

        assert [row.dedupe_id for row in await parts.rows(t.inbox) if row.type == "made"] == ["order-7"]
        assert len(await parts.rows(t.duplicates)) == 2


async def test_a_loop_of_events_is_parked_at_its_limit(store: Store) -> None:
    @handler
    async def again(event: Event, ctx: Context) -> None:
        await ctx.emit("round", {})

    async with assemble(store, routing(route("again", "again", match="round")), {"again": again}) as parts:
        await give(parts, message("round", {}))

        async def is_parked() -> bool:
            return await parts.count("parked") == 1

        await until(is_parked)
        await parts.settle()
        rows = await parts.deliveries()
        assert states(rows).count("done") == HOPS_MAX + 1
        assert "loop" in rows[-1].reason


async def test_a_poll_that_sets_its_own_timer_is_no_loop(store: Store, clock: SettableClock) -> None:
    polls = Journal()

    @handler
    async def poll(event: Event, ctx: Context) -> None:
        polls.done("poll", len(polls.of("poll")))
        if len(polls.of("poll")) < HOPS_MAX + 3:
            await ctx.after(4, "poll", {})

    def has_polled(times: int) -> bool:
        return len(polls.of("poll")) == times

    async with assemble(store, routing(route("poll", "poll", match="poll")), {"poll": poll}, clock=clock) as parts:
        await give(parts, message("poll", {}))
        for round_ in range(1, HOPS_MAX + 3):
            await until(partial(has_polled, round_))
            await parts.settle()
            clock.advance(5)
            await parts.scheduler.fire_timers()
        await parts.settle()

        assert len(polls.of("poll")) == HOPS_MAX + 3
        assert await parts.count("parked") == 0


async def test_a_timer_becomes_an_event_once_when_it_is_due(store: Store, clock: SettableClock) -> None:
    @handler
    async def set_timer(event: Event, ctx: Context) -> None:
        await ctx.after(60, "later", {"n": 1}, key="k")

    routes = routing(route("set", "set", match="a"))
    async with assemble(store, routes, {"set": set_timer}, clock=clock) as parts:
        await give(parts, message("a", {}))
        await parts.settle()
        assert await parts.scheduler.fire_timers() == 0

        clock.advance(61)
        assert await parts.scheduler.fire_timers() == 1
        assert await parts.scheduler.fire_timers() == 0
        [event] = [row for row in await parts.rows(t.inbox) if row.type == "later"]
        assert (event.source, event.key, json.loads(event.payload)) == ("timer", "k", {"n": 1})
        assert await parts.rows(t.timers) == []


async def test_of_two_schedulers_that_race_one_fires_each_timer(database_url: str, clock: SettableClock) -> None:
    @handler
    async def set_timer(event: Event, ctx: Context) -> None:
        for number in range(150):
            await ctx.after(number / 100, "later", {"n": number})

    first, second = Store.open(database_url), Store.open(database_url)
    try:
        async with assemble(first, routing(route("set", "set", match="a")), {"set": set_timer}, clock=clock) as parts:
            await give(parts, *(message("a", {}) for _ in range(4)))
            await parts.settle()
            clock.advance(10)
            rival = _rival(parts, second)

            fired = await asyncio.gather(parts.scheduler.fire_timers(), rival.fire_timers())
            assert sum(fired) == 600
            assert len([row for row in await parts.rows(t.inbox) if row.type == "later"]) == 600
            assert await parts.rows(t.duplicates) == []
    finally:
        await first.close()
        await second.close()


async def test_not_yet_keeps_nothing_of_what_the_attempt_did(store: Store, clock: SettableClock) -> None:
    @handler
    async def wait(event: Event, ctx: Context) -> None:
        await ctx.emit("made", {})
        ctx.tag("a", "b")
        raise NotYet("later")

    async with assemble(store, routing(route("wait", "wait", match="a")), {"wait": wait}, clock=clock) as parts:
        await give(parts, message("a", {}))
        await parts.settle()

        assert states(await parts.deliveries()) == ["deferred"]
        assert len(await parts.rows(t.inbox)) == 1
        assert await parts.rows(t.tags) == []


SCHEDULE = """
schedules:
  sweep: {{ {when}, emit: swept, key: k, data: {{ depth: 2 }}, catch_up: {catch_up} }}
"""


async def test_a_schedule_without_catching_up_still_fires_what_has_just_come(
    store: Store, clock: SettableClock
) -> None:
    schedules = SCHEDULE.format(when='cron: "*/5 * * * *"', catch_up="none")
    async with assemble(store, _scheduled(schedules), {}, clock=clock, start=False) as parts:
        clock.set(clock.now().replace(hour=10, minute=7))
        await _fire(parts)
        clock.set(clock.now().replace(minute=10, second=2))
        await _fire(parts)

        assert await _instants(parts) == ["2026-11-21T10:10:00+00:00"]


async def test_a_scheduled_event_says_which_instant_it_stands_for(store: Store, clock: SettableClock) -> None:
    schedules = SCHEDULE.format(when="every: 1h", catch_up="last")
    async with assemble(store, _scheduled(schedules), {}, clock=clock, start=False) as parts:
        await _fire(parts)
        clock.advance(3_600)
        await _fire(parts)

        [event] = await parts.rows(t.inbox)
        assert (event.source, event.type, event.key) == ("schedule.sweep", "swept", "k")
        assert json.loads(event.payload) == {"depth": 2, "scheduled_at": "2026-11-21T10:00:00Z"}


def _scheduled(schedules: str) -> str:
    return routing(route("r", None, more="publish: out"), destinations=["out"], schedules=schedules)


def _rival(parts: Parts, store: Store) -> Scheduler:
    return Scheduler(
        store,
        parts.clock,
        drafter=lambda: parts.wiring.drafter,
        route_ids=lambda: parts.rules.route_ids,
        schedules=lambda: parts.wiring.schedules,
        to_deliver=parts.to_deliver,
    )


async def _fire(parts: Parts) -> None:
    for name, config in parts.wiring.schedules.items():
        await parts.scheduler.fire_schedule(name, config)


async def _instants(parts: Parts) -> list[str]:
    async with parts.store.reading() as conn:
        return [row[0] for row in await conn.execute(select(t.inbox.c.dedupe_id).order_by(t.inbox.c.seq))]
