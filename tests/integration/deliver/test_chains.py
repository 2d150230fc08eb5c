"""Chains: order within (route, key), independence of all others, back-off, parking and what follows."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.capability import handler
from hub.deliver.blocking import release_chains
from hub.deliver.context import Context
from hub.errors import NotYet, PermanentError, RetryableError
from hub.event import Event
from hub.store import tables as t
from hub.store.store import Store
from tests.integration.deliver.workshop import Journal, give, message, nothing_is_blocked, route, routing, states
from tests.support.clock import SettableClock
from tests.support.parts import Parts, assemble
from tests.support.patience import until


class Flaky:
    """A handler that fails as often as each message asks for, and keeps a journal."""

    def __init__(self) -> None:
        self.journal = Journal()

        @handler
        async def run(event: Event, ctx: Context) -> None:
            number = event.data["n"]
            self.journal.tried.append((ctx.route, number))
            fails = event.data.get("fails", 0)
            if sum(1 for one in self.journal.tried if one == (ctx.route, number)) <= fails:
                raise RuntimeError(f"failure of {number}")
            self.journal.done(str(event.key), number)

        self.spec = run


async def test_a_head_that_fails_twice_is_never_overtaken(store: Store) -> None:
    flaky = Flaky()
    async with assemble(store, routing(route("run", "run")), {"run": flaky.spec}) as parts:
        await give(parts, *(message("a", {"key": "k", "n": n, "fails": 2 if n % 4 == 0 else 0}) for n in range(20)))
        await parts.settle()

        assert flaky.journal.of("k") == list(range(20))
        assert {row.state for row in await parts.deliveries()} == {"done"}
        assert [row.attempts for row in await parts.deliveries()] == [3 if n % 4 == 0 else 1 for n in range(20)]
        await nothing_is_blocked(parts)


async def test_what_arrives_while_the_head_backs_off_waits_behind_it(store: Store, clock: SettableClock) -> None:
    flaky = Flaky()
    routes = routing(route("run", "run", retry="attempts: 3, first: 10s, longest: 1m"))
    async with assemble(store, routes, {"run": flaky.spec}, clock=clock) as parts:
        await give(parts, message("a", {"key": "k", "n": 1, "fails": 1}))
        await until(lambda: len(flaky.journal.tried) == 1)
        for n in (2, 3):
            await give(parts, message("a", {"key": "k", "n": n}))
        await give(parts, message("a", {"key": "other", "n": 4}))
        await until(lambda: flaky.journal.of("other") == [4])

        async def all_wait() -> bool:
            return states(await parts.deliveries()) == ["retrying", "waiting", "waiting", "done"]

        await until(all_wait)
        assert flaky.journal.of("k") == []

        clock.advance(11)
        await parts.settle()
        assert flaky.journal.of("k") == [1, 2, 3]


async def test_keys_and_routes_are_independent(store: Store) -> None:
    seen: list[tuple[str, str]] = []

    @handler
    async def stuck(event: Event, _: Context) -> None:
        if event.key == "bad":
            raise PermanentError("never")
        seen.append(("stuck", str(event.key)))

    @handler
    async def fine(event: Event, _: Context) -> None:
        seen.append(("fine", str(event.key)))

    routes = routing(route("stuck", "stuck"), route("fine", "fine"))
    async with assemble(store, routes, {"stuck": stuck, "fine": fine}) as parts:
        await give(parts, *(message("a", {"key": key}) for key in ("bad", "good", "bad", "good")))
        await parts.settle(also=frozenset({"waiting"}))

        await until(lambda: len(seen) == 6)
        assert seen.count(("stuck", "good")) == 2
        assert seen.count(("fine", "bad")) == 2
        assert seen.count(("fine", "good")) == 2


async def test_thousands_of_rows_behind_a_blocked_chain_cost_the_others_nothing(
    store: Store, clock: SettableClock
) -> None:
    flaky = Flaky()
    routes = routing(route("run", "run", retry="attempts: 2, first: 1h, longest: 1h"))
    async with assemble(store, routes, {"run": flaky.spec}, clock=clock, batch_size=500) as parts:
        await give(parts, message("a", {"key": "k", "n": 0, "fails": 1}))
        await until(lambda: len(flaky.journal.tried) == 1)
        await give(parts, *(message("a", {"key": "k", "n": n}) for n in range(1, 4_001)))

        async def turned() -> bool:
            return await parts.count("waiting") == 4_000

        await until(turned, "the rows behind to be turned away from the ready index")
        assert len(await parts.rows(t.blocked)) == 1

        async with store.reading() as conn:
            ready = await conn.execute(select(t.deliveries.c.id).where(t.deliveries.c.state == "ready"))
            assert ready.all() == []
        await give(parts, message("a", {"key": "other", "n": 5_000}))
        await until(lambda: flaky.journal.of("other") == [5_000])


async def test_the_wait_doubles_up_to_its_cap(store: Store, clock: SettableClock) -> None:
    @handler
    async def fail(event: Event, _: Context) -> None:
        raise RuntimeError("no")

    routes = routing(route("run", "fail", retry="attempts: 7, first: 2s, longest: 20s"))
    waits: list[float] = []
    async with assemble(store, routes, {"fail": fail}, clock=clock) as parts:
        await give(parts, message("a", {"key": "k"}))
        for attempt in range(1, 7):
            row = await _after_attempt(parts, attempt)
            waits.append((row.next_at - clock.now()).total_seconds())
            clock.advance(waits[-1] + 0.001)
        last = await _after_attempt(parts, 7)

        assert waits == [2, 4, 8, 16, 20, 20]
        assert (last.state, last.attempts, last.next_at) == ("parked", 7, None)
        assert last.reason == "RuntimeError: no"
        assert len(await parts.rows(t.attempts)) == 7


async def test_chance_spreads_the_wait_between_half_of_it_and_all(store: Store) -> None:
    @handler
    async def fail(event: Event, _: Context) -> None:
        raise RuntimeError("no")

    routes = routing(route("run", "fail", retry="attempts: 7, first: 100s, longest: 100s"))
    async with assemble(store, routes, {"fail": fail}) as parts:
        await give(parts, *(message("a", {"key": str(n)}) for n in range(40)))

        async def all_failed() -> bool:
            return await parts.count("retrying") == 40

        await until(all_failed)
        rows = await parts.deliveries()
        now = parts.clock.now()
        waits = [(row.next_at - now).total_seconds() for row in rows]
        assert all(45 <= wait <= 100 for wait in waits)
        assert max(waits) - min(waits) > 15


async def test_an_error_that_names_its_delay_is_tried_again_then(store: Store, clock: SettableClock) -> None:
    @handler
    async def busy(event: Event, _: Context) -> None:
        raise RetryableError("busy", delay_s=77)

    async with assemble(store, routing(route("run", "busy")), {"busy": busy}, clock=clock) as parts:
        await give(parts, message("a", {"key": "k"}))

        row = await _after_attempt(parts, 1)
        assert row.next_at == clock.now() + timedelta(seconds=77)


async def test_a_permanent_error_parks_at_once_and_its_chain_waits(store: Store) -> None:
    flaky = Flaky()

    @handler
    async def refuse_first(event: Event, ctx: Context) -> None:
        if event.data["n"] == 0:
            raise PermanentError("cannot ever work")
        flaky.journal.done(str(event.key), event.data["n"])

    async with assemble(store, routing(route("run", "r")), {"r": refuse_first}) as parts:
        await give(parts, *(message("a", {"key": "k", "n": n}) for n in range(3)))
        await until(lambda: _states_are(parts, "parked", "waiting", "waiting"))

        assert flaky.journal.of("k") == []
        [parked, *_] = await parts.deliveries()
        assert (parked.attempts, parked.reason) == (1, "cannot ever work")


async def test_a_route_that_says_so_goes_on_past_a_parked_delivery(store: Store) -> None:
    journal = Journal()

    @handler
    async def refuse_first(event: Event, ctx: Context) -> None:
        if event.data["n"] == 0:
            raise PermanentError("cannot ever work")
        journal.done(str(event.key), event.data["n"])

    async with assemble(store, routing(route("run", "r", more="on_park: continue")), {"r": refuse_first}) as parts:
        await give(parts, *(message("a", {"key": "k", "n": n}) for n in range(3)))
        await parts.settle()

        assert journal.of("k") == [1, 2]
        assert states(await parts.deliveries()) == ["parked", "done", "done"]


async def test_after_an_operators_retry_the_chain_goes_on_in_order(store: Store) -> None:
    journal, is_mended = Journal(), asyncio.Event()

    @handler
    async def run(event: Event, _: Context) -> None:
        if event.data["n"] == 1 and not is_mended.is_set():
            raise PermanentError("not yet mended")
        journal.done(str(event.key), event.data["n"])

    async with assemble(store, routing(route("run", "run")), {"run": run}) as parts:
        await give(parts, *(message("a", {"key": "k", "n": n}) for n in range(1, 5)))
        await until(lambda: _states_are(parts, "parked", "waiting", "waiting", "waiting"))
        is_mended.set()
        await _set_head(parts, state="retrying")
        await parts.settle()

        assert journal.of("k") == [1, 2, 3, 4]
        await nothing_is_blocked(parts)


async def test_a_discarded_head_releases_its_chain(store: Store) -> None:
    journal = Journal()

    @handler
    async def run(event: Event, _: Context) -> None:
        if event.data["n"] == 1:
            raise PermanentError("never")
        journal.done(str(event.key), event.data["n"])

    async with assemble(store, routing(route("run", "run")), {"run": run}) as parts:
        await give(parts, *(message("a", {"key": "k", "n": n}) for n in range(1, 4)))
        await until(lambda: _states_are(parts, "parked", "waiting", "waiting"))
        await _set_head(parts, state="discarded")
        await parts.settle()

        assert journal.of("k") == [2, 3]


async def test_not_yet_lets_its_chain_go_on_and_is_tried_again(store: Store, clock: SettableClock) -> None:
    journal, purchase = Journal(), asyncio.Event()

    @handler
    async def run(event: Event, _: Context) -> None:
        if event.type == "refund" and not purchase.is_set():
            raise NotYet("its purchase is not here", within_s=3_600)
        journal.done(str(event.key), event.data["n"])

    async with assemble(store, routing(route("run", "run")), {"run": run}, clock=clock) as parts:
        await give(parts, message("refund", {"key": "k", "n": 1}), message("buy", {"key": "k", "n": 2}))
        await parts.settle()
        assert journal.of("k") == [2]
        [refund, _] = await parts.deliveries()
        assert (refund.state, refund.attempts, refund.reason) == ("deferred", 0, "its purchase is not here")

        purchase.set()
        clock.advance(5)
        await until(lambda: _states_are(parts, "done", "done"))
        assert journal.of("k") == [2, 1]


async def test_not_yet_parks_at_its_deadline_without_holding_anybody_up(store: Store, clock: SettableClock) -> None:
    @handler
    async def wait(event: Event, _: Context) -> None:
        if event.data["n"] == 1:
            raise NotYet("still nothing", within_s=100)

    async with assemble(store, routing(route("run", "wait")), {"wait": wait}, clock=clock) as parts:
        await give(parts, message("a", {"key": "k", "n": 1}))
        await until(lambda: _states_are(parts, "deferred"))
        clock.advance(101)
        await until(lambda: _states_are(parts, "parked"))
        await give(parts, message("a", {"key": "k", "n": 2}))
        await parts.settle()

        [parked, later] = await parts.deliveries()
        assert (parked.state, later.state) == ("parked", "done")
        assert parked.reason == "waited 101 s in vain: still nothing"


async def test_not_yet_may_end_with_an_outcome_of_its_own(store: Store, clock: SettableClock) -> None:
    @handler
    async def wait(event: Event, _: Context) -> None:
        raise NotYet("undecided", within_s=10, on_deadline="verification_unavailable")

    async with assemble(store, routing(route("run", "wait")), {"wait": wait}, clock=clock) as parts:
        await give(parts, message("a", {"key": "k"}))
        await until(lambda: _states_are(parts, "deferred"))
        clock.advance(11)
        await until(lambda: _states_are(parts, "done"))

        [row] = await parts.deliveries()
        assert row.outcome == "verification_unavailable"
        assert row.finished_at == clock.now()


async def test_a_deferred_delivery_that_fails_backs_off_alone(store: Store, clock: SettableClock) -> None:
    tries: list[int] = []

    @handler
    async def run(event: Event, _: Context) -> None:
        if event.data["n"] == 2:
            return
        tries.append(1)
        if len(tries) == 1:
            raise NotYet("first", within_s=1_000)
        if len(tries) == 2:
            raise RuntimeError("then this")

    routes = routing(route("run", "run", retry="attempts: 3, first: 5s, longest: 10s"))
    async with assemble(store, routes, {"run": run}, clock=clock) as parts:
        await give(parts, message("a", {"key": "k", "n": 1}))
        await until(lambda: _states_are(parts, "deferred"))
        clock.advance(2)
        await until(lambda: _states_are(parts, "retrying"))
        await give(parts, message("a", {"key": "k", "n": 2}))
        await until(lambda: _states_are(parts, "retrying", "done"))
        clock.advance(6)
        await until(lambda: _states_are(parts, "done", "done"))
        await nothing_is_blocked(parts)


async def test_a_condition_that_cannot_be_evaluated_parks_that_routes_delivery_alone(store: Store) -> None:
    journal = Journal()

    @handler
    async def run(event: Event, ctx: Context) -> None:
        journal.done(ctx.route, event.data["n"])

    routes = routing(
        route("plain", "run"),
        route("large", "run", more="when: data.amount > 10"),
        route("careful", "run", more="when: 'has(data.amount) && data.amount > 10'"),
    )
    async with assemble(store, routes, {"run": run}) as parts:
        bodies = ({"n": 1}, {"n": 2, "amount": 11}, {"n": 3, "amount": 9})
        await give(parts, *(message("a", body) for body in bodies))
        await parts.settle()

        assert {route: sorted(journal.of(route)) for route in ("plain", "large", "careful")} == {
            "plain": [1, 2, 3],
            "large": [2],
            "careful": [2],
        }
        [parked] = [row for row in await parts.deliveries() if row.state == "parked"]
        assert parked.route == "large"
        assert parked.reason.startswith("condition: ")


async def test_a_route_that_is_gone_parks_what_it_had_and_says_so(store: Store) -> None:
    @handler
    async def run(event: Event, ctx: Context) -> None: ...

    async with assemble(store, routing(route("old", "run")), {"run": run}, start=False) as parts:
        await give(parts, message("a", {}))
    async with assemble(store, routing(route("new", "run")), {"run": run}) as parts:
        await parts.settle()

        [row] = await parts.deliveries()
        assert (row.state, row.reason) == ("parked", "its route is no longer in routing.yaml")


async def _after_attempt(parts: Parts, attempt: int) -> Any:
    async def tried() -> bool:
        return len(await parts.rows(t.attempts)) == attempt

    await until(tried, f"attempt {attempt}")
    [row] = await parts.deliveries()
    return row


async def _states_are(parts: Parts, *wanted: str) -> bool:
    return states(await parts.deliveries()) == list(wanted)


async def _set_head(parts: Parts, *, state: str) -> None:
    """What an operator does to the parked head of a chain."""

    async def work(conn: AsyncConnection) -> None:
        parked = (await conn.execute(select(t.deliveries).where(t.deliveries.c.state == "parked"))).one()
        await conn.execute(update(t.deliveries).where(t.deliveries.c.id == parked.id).values(state=state))
        await release_chains(conn, [parked.chain], now=parts.clock.now())

    await parts.store.write(work)
