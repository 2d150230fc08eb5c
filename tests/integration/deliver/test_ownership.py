"""Ownership: one worker delivers, a successor takes over when it is gone, and nothing of the old one commits then."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.capability import handler
from hub.deliver.blocking import Block, block_chains
from hub.deliver.context import Context
from hub.errors import StoreUnavailableError
from hub.event import LANES, Event
from hub.ownership.holding import DELIVER
from hub.ownership.member import Member
from hub.store import tables as t
from hub.store.store import FencedError, Store
from tests.integration.deliver.workshop import Journal, give, keys_of_one_lane, message, route, routing, states
from tests.support.clock import SettableClock
from tests.support.locks import until_one_waits
from tests.support.owning import expire_leases, joined
from tests.support.parts import Parts, assemble, crash
from tests.support.patience import STILL_S_MAX, until


class Killed(BaseException):
    """Stands for the end of the process: nobody catches it."""


async def test_after_an_orderly_end_the_next_one_takes_over_at_once_and_suspects_nobody(store: Store) -> None:
    journal = Journal()
    handlers = {"run": _journalled(journal)}
    async with assemble(store, routing(route("run", "run")), handlers) as parts:
        await give(parts, *(message("a", {"key": "k", "n": n}) for n in range(5)))
        await parts.settle()
        assert parts.holding is not None
        await parts.stop()
        assert parts.member is not None
        await parts.member.leave()
        await give(parts, message("a", {"key": "k", "n": 5}))

        successor = (await joined(store, parts.clock)).holdings[DELIVER]
        assert len(successor.lanes) == LANES
        assert not successor.suspects
        parts._tasks.clear()


async def test_lanes_that_are_given_up_can_be_taken_again_at_once(store: Store, clock: SettableClock) -> None:
    first = await joined(store, clock)
    await first.leave()

    second = await joined(store, clock)

    assert second.holdings[DELIVER].lanes == frozenset(range(LANES))
    assert sorted(row.state for row in await _rows(store, t.workers)) == ["running", "stopped"]
    with pytest.raises(FencedError):
        await store.write(_touch, fence=first.fence)


async def test_when_the_lease_is_over_another_takes_over(store: Store, clock: SettableClock) -> None:
    first = await joined(store, clock)
    await expire_leases(store)

    second = await joined(store, clock)

    assert {row.worker_id for row in await _rows(store, t.lanes)} == {second.fence.worker_id}
    assert {row.id: row.state for row in await _rows(store, t.workers)} == {
        first.fence.worker_id: "lost",
        second.fence.worker_id: "running",
    }


async def test_a_heartbeat_keeps_the_lanes(store: Store, clock: SettableClock) -> None:
    first = await joined(store, clock)
    await expire_leases(store)
    await first.renew()

    assert not (await joined(store, clock)).holdings[DELIVER].lanes


async def test_nothing_of_a_worker_that_was_taken_over_commits(store: Store, clock: SettableClock) -> None:
    first = await joined(store, clock)
    await store.write(_touch, fence=first.fence)
    await expire_leases(store)
    await joined(store, clock)

    with pytest.raises(FencedError):
        await store.write(_touch, fence=first.fence)
    assert [row.received for row in await _rows(store, t.received_totals)] == [1]
    # Its heartbeat, if it comes back, changes nothing, and it hears so.
    for comes_back in (first.renew, first.walk_out):
        with pytest.raises(FencedError):
            await comes_back()


async def test_a_paused_worker_that_comes_back_in_the_middle_of_a_batch_delivers_nothing_twice(
    database_url: str, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch has begun, so on PostgreSQL the successor has to wait for it; on SQLite it cannot even ask."""
    # It comes back before the successor loses its patience, however slow the machine is.
    monkeypatch.setattr("hub.ownership.member.PATIENCE_S", 600.0)
    first_store, second_store = Store.open(database_url), Store.open(database_url, busy_timeout_s=0.2)
    reached, goes_on, runs = asyncio.Event(), asyncio.Event(), []

    @handler
    async def run(event: Event, ctx: Context) -> None:
        await ctx.emit("made", {"n": 1})
        runs.append(1)
        if len(runs) == 1:
            reached.set()
            await goes_on.wait()

    try:
        async with assemble(first_store, routing(route("run", "run", match="a")), {"run": run}, clock=clock) as old:
            await give(old, message("a", {}))
            await reached.wait()
            takeover = asyncio.create_task(_expire_and_take(second_store, clock))
            if first_store.dialect == "postgresql":
                await until_one_waits(first_store)
                assert not takeover.done()
            else:
                await asyncio.wait({takeover}, timeout=STILL_S_MAX)
                assert takeover.exception() is not None
            goes_on.set()
            # Its loop may have met the successor's epoch by then.
            await until(lambda: _is_empty(old))
            if first_store.dialect == "postgresql":
                assert (await takeover).holdings[DELIVER].lanes
            else:
                with pytest.raises(StoreUnavailableError):
                    await takeover
                assert (await _expire_and_take(second_store, clock)).holdings[DELIVER].lanes

            # What it had begun stands; from here on it is out.
            await give(old, message("a", {}))
            assert old.worker is not None
            await until(old._tasks[1].done)
            assert isinstance(old._tasks[1].exception(), FencedError)
            assert len([row for row in await _rows(first_store, t.inbox) if row.type == "made"]) == 1
            old._tasks.pop()
    finally:
        await first_store.close()
        await second_store.close()


async def test_a_transaction_of_a_stopped_process_does_not_hold_its_successor_up(
    database_url: str, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    if database_url.startswith("sqlite"):
        pytest.skip("a stopped process keeps SQLite's one writer; there is no second process there")
    monkeypatch.setattr("hub.ownership.member.IDLE_S_MAX", 1)
    first_store, second_store = Store.open(database_url), Store.open(database_url)
    is_inside, goes_on = asyncio.Event(), asyncio.Event()

    async def stopped(conn: AsyncConnection) -> None:
        await _touch(conn)
        is_inside.set()
        await goes_on.wait()
        await _touch(conn)

    try:
        first = await joined(first_store, clock)
        old = asyncio.create_task(first_store.write(stopped, fence=first.fence))
        await asyncio.wait_for(is_inside.wait(), STILL_S_MAX)

        async with asyncio.timeout(STILL_S_MAX):
            assert (await _expire_and_take(second_store, clock)).holdings[DELIVER].lanes
        goes_on.set()
        with pytest.raises(StoreUnavailableError):
            await old
        assert await _rows(second_store, t.received_totals) == []
    finally:
        await first_store.close()
        await second_store.close()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_transaction_that_would_go_on_for_ever_is_ended(database_url: str, clock: SettableClock) -> None:
    """As of a process that stopped while a statement of its was under way: no bound on idle transactions ends it."""
    first_store, second_store = Store.open(database_url), Store.open(database_url)
    held = asyncio.Event()

    async def stuck(conn: AsyncConnection) -> None:
        await _touch(conn)
        held.set()
        await conn.execute(text("SELECT pg_sleep(60)"))

    try:
        first = await joined(first_store, clock)
        old = asyncio.create_task(first_store.write(stuck, fence=first.fence))
        await held.wait()

        successor = await _expire_and_take(second_store, clock)

        assert len(successor.holdings[DELIVER].lanes) == LANES
        with pytest.raises(StoreUnavailableError):
            await old
        assert await _rows(second_store, t.received_totals) == []
    finally:
        await first_store.close()
        await second_store.close()


async def test_after_an_unclean_end_the_attempts_of_what_was_in_hand_are_counted_before_it_runs(store: Store) -> None:
    counted: dict[int, int] = {}
    is_first = asyncio.Event()

    @handler
    async def run(event: Event, ctx: Context) -> None:
        number = event.data["n"]
        if not is_first.is_set():
            is_first.set()
            raise Killed
        async with store.reading() as conn:
            rows = await conn.execute(t.deliveries.select().where(t.deliveries.c.event_id == event.id))
            counted[number] = rows.one().attempts

    async with assemble(store, routing(route("run", "run")), {"run": run}, start=False) as parts:
        await parts.start()
        keys = keys_of_one_lane(4)
        await give(parts, *(message("a", {"key": key, "n": n}) for n, key in enumerate(keys)))
        await _die(parts)
    await expire_leases(store)
    async with assemble(store, routing(route("run", "run")), {"run": run}) as parts:
        assert parts.holding is not None
        assert len(parts.holding.suspects) == 4
        await parts.settle()

        assert counted == dict.fromkeys(range(4), 1), "counted before it ran, and nothing more in the end"
        assert states(await parts.deliveries(), "state", "attempts") == [("done", 1)] * 4


@pytest.mark.parametrize("place", ["first of its chain", "behind others", "in a chain that was due"])
async def test_a_message_that_kills_the_process_is_parked_in_the_end_and_its_neighbours_are_delivered(
    store: Store, place: str
) -> None:
    journal = Journal()
    fails: set[int] = set()

    @handler
    async def run(event: Event, ctx: Context) -> None:
        number = event.data["n"]
        if event.data.get("kills"):
            raise Killed
        if event.data.get("fails") and number not in fails:
            fails.add(number)
            raise RuntimeError("once")
        journal.done(str(event.key), number)

    deadly = message("a", {"key": "k", "n": 3, "kills": True})
    before = {
        "first of its chain": [],
        "behind others": [message("a", {"key": "k", "n": n}) for n in (1, 2)],
        "in a chain that was due": [
            message("a", {"key": "k", "n": 1, "fails": True}),
            message("a", {"key": "k", "n": 2}),
        ],
    }[place]
    others = [message("a", {"key": f"other-{n}", "n": n}) for n in range(10, 16)]
    routes = routing(route("run", "run", retry="attempts: 3, first: 1ms, longest: 2ms"))
    lives = 0
    async with assemble(store, routes, {"run": run}, start=False) as parts:
        await give(parts, *before, deadly, message("a", {"key": "k", "n": 4}), *others)
    for lives in range(1, 12):  # noqa: B007 - counted
        async with assemble(store, routes, {"run": run}, start=False) as parts:
            await parts.start(sweep_s=0.005)
            if not await _dies(parts):
                break
            await _die(parts)
            await expire_leases(store)

    rows = await parts.deliveries()
    await parts.stop()
    parked = [row for row in rows if row.state == "parked"]
    assert len(parked) == 1, states(rows)
    assert "the process ended each time" in parked[0].reason
    assert sorted(number for key in journal.keys for number in journal.last_of(key) if number >= 10) == [*range(10, 16)]
    assert journal.last_of("k") == ([] if place == "first of its chain" else [1, 2])
    # Once unsuspected, once with others, then alone: from there on the innocent are out of it.
    assert lives <= 6


async def test_suspects_never_run_before_what_stands_in_front_of_them(store: Store) -> None:
    """A delivery that was waiting is no suspect, one that was ready behind it is: the order is that of the chain."""
    journal, killed = Journal(), asyncio.Event()

    @handler
    async def run(event: Event, ctx: Context) -> None:
        number = event.data["n"]
        if number == 99 and not killed.is_set():
            killed.set()
            raise Killed
        journal.done(str(event.key), number)

    async with assemble(store, routing(route("run", "run")), {"run": run}, start=False) as parts:
        ids = await give(parts, *(message("a", {"key": "k", "n": n}) for n in range(6)), message("a", {"n": 99}))
        await store.write(_as_if_behind_a_barrier(ids[0], ids[1:4], parts))
        await parts.start()
        await _die(parts)
    await expire_leases(store)
    async with assemble(store, routing(route("run", "run")), {"run": run}) as parts:
        await parts.settle()

        assert journal.last_of("k") == list(range(6))


async def test_a_suspect_with_further_keys_runs_although_others_of_its_chain_wait_for_it(
    store: Store, clock: SettableClock
) -> None:
    """What waits behind a merge must not put off the look at the chain, in which the merge is to be counted first."""
    journal, killed = Journal(), asyncio.Event()

    @handler
    async def run(event: Event, ctx: Context) -> None:
        if event.data["n"] == 99 and not killed.is_set():
            killed.set()
            raise Killed
        journal.done(str(event.key), event.data["n"])

    async with assemble(store, routing(route("run", "run")), {"run": run}, clock=clock, start=False) as parts:
        await give(
            parts,
            message("a", {"n": 99}),
            message("a", {"key": "a", "after": "b", "n": 1}),
            message("a", {"key": "a", "n": 2}),
            message("a", {"key": "b", "n": 3}),
        )
        await parts.start()
        await _die(parts)
    await expire_leases(store)
    # Old enough that the chain would not be due again before the look that counts.
    clock.advance(100)
    async with assemble(store, routing(route("run", "run")), {"run": run}, clock=clock) as parts:
        assert parts.holding is not None
        assert len(parts.holding.suspects) == 4
        await parts.settle(also=frozenset({"waiting"}))
        assert journal.last_of("a") == [1]

        clock.advance(10)
        await parts.settle()
        assert (journal.last_of("a"), journal.last_of("b")) == ([1, 2], [3])
        assert states(await parts.deliveries(), "state", "attempts") == [("done", 1)] * 4


async def test_suspicion_ends(store: Store) -> None:
    """Heads that cannot run, such as parked ones, must not keep the worker careful for ever."""

    @handler
    async def run(event: Event, ctx: Context) -> None:
        if event.data["n"] == 0:
            raise RuntimeError("parks")
        if event.data["n"] == 9 and not died.is_set():
            died.set()
            raise Killed

    died = asyncio.Event()
    routes = routing(route("run", "run", retry="attempts: 1, first: 1ms, longest: 2ms"))
    async with assemble(store, routes, {"run": run}, start=False) as parts:
        await parts.start()
        await give(parts, *(message("a", {"key": "k", "n": n}) for n in range(4)))

        async def is_parked() -> bool:
            return states(await parts.deliveries()) == ["parked", "waiting", "waiting", "waiting"]

        await until(is_parked)
        await give(parts, message("a", {"n": 9}))
        await _die(parts)
    await expire_leases(store)
    async with assemble(store, routes, {"run": run}) as parts:
        await parts.settle(also=frozenset({"waiting"}))
        await until(lambda: parts.worker is not None and not parts.worker._suspects)


def _as_if_behind_a_barrier(head: Any, waiting: list[Any], parts: Parts) -> Any:
    async def work(conn: AsyncConnection) -> None:
        rows = (await conn.execute(t.deliveries.select())).all()
        first = next(row for row in rows if row.event_id == head)
        block = Block(first.chain, first.lane, first.id, "barrier", parts.clock.now())
        await block_chains(conn, [block])
        update = t.deliveries.update().where(t.deliveries.c.event_id.in_([head, *waiting]))
        await conn.execute(update.values(state="waiting"))

    return work


async def _die(parts: Parts) -> None:
    """Wait for the worker's death, then end the rest of its process."""
    await until(parts._tasks[1].done, "the worker to die")
    await crash(parts)


async def _dies(parts: Parts) -> bool:
    """Whether this life of the process ends by a message; otherwise there is nothing left to run."""
    async with asyncio.timeout(STILL_S_MAX):
        while not parts._tasks[1].done():
            if not await parts.count("ready", "calling", "retrying") and not await _is_due(parts):
                return False
            await asyncio.sleep(0.005)
    return True


async def _is_due(parts: Parts) -> bool:
    return any(row.state != "parked" for row in await parts.rows(t.blocked))


def _journalled(journal: Journal) -> Any:
    @handler
    async def run(event: Event, _: Context) -> None:
        journal.done(str(event.key), event.data["n"])

    return run


async def _expire_and_take(store: Store, clock: SettableClock) -> Member:
    await expire_leases(store)
    return await joined(store, clock)


async def _is_empty(parts: Parts) -> bool:
    return not await parts.count("ready", "waiting", "calling", "retrying")


async def _touch(conn: AsyncConnection) -> None:
    await conn.execute(t.received_totals.insert(), [{"source": "elsewhere", "slot": 0, "received": 1}])


async def _rows(store: Store, table: Any) -> list[Any]:
    async with store.reading() as conn:
        return list(await conn.execute(table.select()))
