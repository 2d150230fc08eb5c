"""Further keys beside failures: who leaves its chain lets go of all its keys, who waits in it holds them."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.capability import handler
from hub.deliver.context import Context
from hub.errors import NotYet, PermanentError
from hub.event import Event, lane_of
from hub.operate.parked import discard
from hub.outbox.marks import lift_behind
from hub.store import tables as t
from hub.store.store import Store
from tests.integration.deliver.workshop import Journal, give, message, nothing_is_blocked, route, routing, states
from tests.support.clock import SettableClock
from tests.support.locks import until_one_waits
from tests.support.parts import Parts, assemble
from tests.support.patience import until

ONE_ATTEMPT = "attempts: 1, first: 1ms, longest: 1ms"


class Merging:
    """A handler whose merges (messages with further keys) do as ``merge`` says; the rest succeed."""

    def __init__(self) -> None:
        self.journal = Journal()
        self.merge: Exception | None = None

        @handler
        async def run(event: Event, _: Context) -> None:
            if event.after and self.merge is not None:
                raise self.merge
            self.journal.done("all", event.data["n"])

        self.spec = run


async def test_a_merge_that_is_parked_holds_both_keys_until_a_person_acts(store: Store) -> None:
    merging = Merging()
    merging.merge = PermanentError("no")
    async with assemble(store, routing(route("run", "run")), {"run": merging.spec}) as parts:
        await _give_merge(parts)
        await until(lambda: _are(parts, "parked", "waiting", "waiting", "done"))

        await _discard(parts)
        await parts.settle()
        assert sorted(merging.journal.of("all")) == [2, 3, 4]
        await nothing_is_blocked(parts)


async def test_where_a_route_goes_on_past_what_is_parked_both_keys_do(store: Store) -> None:
    merging = Merging()
    merging.merge = PermanentError("no")
    routes = routing(route("run", "run", more="on_park: continue"))
    async with assemble(store, routes, {"run": merging.spec}) as parts:
        await _give_merge(parts)
        await parts.settle()

        assert states(await parts.deliveries()) == ["parked", "done", "done", "done"]
        assert await parts.rows(t.barriers) == []


@pytest.mark.parametrize("within_s", [0.0, 3_600.0])
async def test_a_merge_that_says_not_yet_lets_go_of_both_keys(store: Store, within_s: float) -> None:
    merging = Merging()
    merging.merge = NotYet("not decided", within_s=within_s)
    async with assemble(store, routing(route("run", "run")), {"run": merging.spec}) as parts:
        await _give_merge(parts)
        await until(lambda: _are(parts, "deferred" if within_s else "parked", "done", "done", "done"))

        assert await parts.rows(t.barriers) == []


async def test_a_merge_waits_for_a_head_of_its_other_key_that_backs_off(store: Store, clock: SettableClock) -> None:
    journal, failed = Journal(), asyncio.Event()

    @handler
    async def run(event: Event, _: Context) -> None:
        if event.data["n"] == 1 and not failed.is_set():
            failed.set()
            raise RuntimeError("once")
        journal.done("all", event.data["n"])

    routes = routing(route("run", "run", retry="attempts: 3, first: 20s, longest: 20s"))
    async with assemble(store, routes, {"run": run}, clock=clock) as parts:
        await give(parts, message("a", {"key": "b", "n": 1}))
        await failed.wait()
        await give(parts, message("a", {"key": "a", "after": "b", "n": 2}), message("a", {"key": "c", "n": 3}))
        await until(lambda: journal.of("all") == [3])
        clock.advance(6)
        await asyncio.sleep(0.1)
        assert journal.of("all") == [3]

        clock.advance(20)
        await until(lambda: 1 in journal.of("all"))
        # It looks again by itself, at most a few seconds later: no wake-up can be lost.
        clock.advance(6)
        await parts.settle()
        assert journal.of("all") == [3, 1, 2]


async def test_a_barrier_behind_a_failed_head_does_not_shorten_its_back_off(store: Store, clock: SettableClock) -> None:
    @handler
    async def run(_: Event, __: Context) -> None:
        raise RuntimeError("never")

    routes = routing(route("run", "run", retry="attempts: 3, first: 20s, longest: 20s"))
    async with assemble(store, routes, {"run": run}, clock=clock) as parts:
        await give(parts, message("a", {"key": "b", "n": 1}))
        await until(lambda: _are(parts, "retrying"))
        # One batch: the head of chain a fails, and the merge behind it is held by what is open of b.
        await give(parts, message("a", {"key": "a", "n": 2}), message("a", {"key": "a", "after": "b", "n": 3}))
        await until(lambda: _are(parts, "retrying", "retrying", "waiting"))

        assert {row.state for row in await parts.rows(t.blocked)} == {"backoff"}
        clock.advance(6)
        await asyncio.sleep(0.1)
        assert [row.attempts for row in await parts.deliveries()] == [1, 1, 0]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_two_relays_that_send_the_last_messages_of_a_merge_at_once_let_go_of_its_keys(store: Store) -> None:
    @handler
    async def run(event: Event, ctx: Context) -> None:
        for key in ("a", "b"):
            await ctx.publish({"n": 1}, key=key)

    routes = routing(route("run", "run", more="publish: out"), destinations=["out"])
    async with assemble(store, routes, {"run": run}) as parts:
        await give(parts, message("a", {"key": "a", "after": "b", "n": 1}))
        await parts.settle()
        first, second = [row.seq for row in await parts.rows(t.outbox)]
        assert len(await parts.rows(t.barriers)) == 2
        may_commit = asyncio.Event()

        async def mark(seq: int, gate: asyncio.Event | None) -> None:
            async def work(conn: AsyncConnection) -> None:
                await conn.execute(update(t.outbox).where(t.outbox.c.seq == seq).values(state="sent"))
                await lift_behind(conn, [seq])
                marked.set()
                if gate is not None:
                    await gate.wait()

            await store.write(work)

        marked = asyncio.Event()
        one = asyncio.create_task(mark(first, may_commit))
        await marked.wait()
        other = asyncio.create_task(mark(second, None))
        waiting = asyncio.create_task(until_one_waits(store))
        await asyncio.wait({other, waiting}, return_when=asyncio.FIRST_COMPLETED)
        may_commit.set()
        await asyncio.gather(one, other)
        waiting.cancel()

        assert await parts.rows(t.barriers) == []


async def test_a_key_named_twice_or_the_own_one_among_the_further_keys_is_no_obstacle(store: Store) -> None:
    merging = Merging()
    async with assemble(store, routing(route("run", "run")), {"run": merging.spec}) as parts:
        await give(
            parts,
            message("a", {"key": "a", "after": ["a", "b"], "n": 1}),
            message("a", {"key": "b", "after": ["b", "b"], "n": 2}),
            message("a", {"after": ["a", "b"], "n": 3}),
        )
        await parts.settle()

        assert merging.journal.of("all") == [1, 2, 3]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it ignores its closing, too
@pytest.mark.parametrize("place", [0, 1, 2])
async def test_a_culprit_that_ends_its_batch_never_overtakes_its_chain(store: Store, place: int) -> None:
    """It is found by running the others without it: parked, it must not hold up what came before it."""
    journal, is_over = Journal(), asyncio.Event()

    @handler(timeout_s=0.05)
    async def run(event: Event, ctx: Context) -> None:
        if event.data["n"] == place:
            while not is_over.is_set():
                with contextlib.suppress(asyncio.CancelledError, GeneratorExit):
                    await asyncio.sleep(5)
        journal.done("all", event.data["n"])

    async with assemble(store, routing(route("run", "run", retry=ONE_ATTEMPT)), {"run": run}) as parts:
        await give(parts, *(message("a", {"key": "k", "n": n}) for n in range(3)))
        wanted = ["done"] * place + ["parked"] + ["waiting"] * (2 - place)

        await until(lambda: _are(parts, *wanted))
        assert journal.last_of("all") == list(range(place))
    is_over.set()


async def _give_merge(parts: Parts) -> None:
    """A merge of b into a, then one message of each, and one of nobody's concern; the keys are in different lanes."""
    assert lane_of("a") != lane_of("b")
    await give(
        parts,
        message("a", {"key": "a", "after": "b", "n": 1}),
        message("a", {"key": "a", "n": 2}),
        message("a", {"key": "b", "n": 3}),
        message("a", {"key": "c", "n": 4}),
    )


async def _discard(parts: Parts) -> None:
    [parked] = [row for row in await parts.deliveries() if row.state == "parked"]
    await discard(parts.store, parts.clock, str(parked.event_id), actor="test", reason="mended elsewhere")
    parts.to_deliver.add([parked.lane])


async def _are(parts: Parts, *wanted: str) -> bool:
    return states(await parts.deliveries()) == list(wanted)
