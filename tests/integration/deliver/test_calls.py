"""Calls to providers: on record before they leave, asked about before they leave again, no transaction meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.calls.outcome import Declined, NotFound, Outcome, Pending, Settled, Unknown
from hub.calls.record import UNDER_WAY_S, Lookup
from hub.capability import HandlerSpec, calls, handler
from hub.deliver.context import Context
from hub.errors import BusyError, RetryableError
from hub.event import Event
from hub.ledger import Account, Book, Move
from hub.ledger.tables import entries
from hub.money import Money
from hub.store import tables as t
from hub.store.store import Store
from tests.integration.deliver.workshop import Journal, give, message, nothing_is_blocked, route, routing, states
from tests.support.clock import SettableClock
from tests.support.locks import until_one_waits
from tests.support.parts import assemble, crash
from tests.support.patience import STILL_S_MAX, until

BANK = Account("bank", "VND", "debit", running=False)
WALLET = Account("wallet:w", "VND", "credit")


class Provider:
    """A provider that answers what a test tells it to, and remembers what it was asked."""

    def __init__(self, *answers: Outcome | BaseException) -> None:
        self.answers = list(answers)
        self.found: list[Any] = []
        self.sent: list[tuple[str, str]] = []
        self.asked: list[str] = []
        self.silent = asyncio.Event()
        self.reached = asyncio.Event()
        self.on_send: Callable[[], Any] | None = None

    async def send(self, request: dict[str, Any], key: str) -> Outcome:
        self.sent.append((str(request.get("key", "")), key))
        self.reached.set()
        if self.on_send is not None:
            await self.on_send()
        answer = self.answers.pop(0) if self.answers else Settled({"id": len(self.sent)})
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def never(self, request: dict[str, Any], key: str) -> Outcome:
        self.sent.append((str(request.get("key", "")), key))
        self.reached.set()
        await self.silent.wait()
        return Settled({"id": len(self.sent)})

    async def look_up(self, request: dict[str, Any], key: str) -> Any:
        self.asked.append(key)
        answer = self.found.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def spec(
        self, outcomes: list[Outcome], *, with_lookup: bool = True, timeout_s: float = 5.0, **call: Any
    ) -> HandlerSpec:
        """A handler that makes one call, posts when it is settled, and asks again while it is not decided."""
        lookup: Lookup | None = self.look_up if with_lookup else None

        @calls("bank")
        async def pay(event: Event, ctx: Context) -> None:
            outcome = await ctx.call(
                "pay",
                call.get("fn", self.send),
                dict(event.data),
                lookup=lookup,
                timeout_s=timeout_s,
                key=call.get("key"),
            )
            outcomes.append(outcome)
            match outcome:
                case Settled():
                    await ctx.ledger.post(f"paid-{event.id}", "paid", [Move(BANK, WALLET, Money(5, "VND"))])
                    await ctx.emit("paid", {"n": 1})
                    ctx.conclude("settled")
                case Declined():
                    ctx.conclude("declined")
                case Pending() | Unknown():
                    raise RetryableError("not decided")

        spec: HandlerSpec = pay
        return spec


PAY = routing(route("pay", "pay", match="pay"))


async def test_a_call_is_committed_before_the_provider_hears_of_it(store: Store) -> None:
    provider, seen = Provider(), []

    async def look() -> None:
        seen.extend(states(await parts.rows(t.calls), "state", "key", "number", "provider"))

    provider.on_send = look
    async with assemble(store, PAY, {"pay": provider.spec([])}) as parts:
        await give(parts, message("pay", {"key": "k"}))
        await parts.settle()

        [(_, key)] = provider.sent
        assert seen == [("started", key, 1, "bank")]
        [call] = await parts.rows(t.calls)
        assert (call.state, call.outcome) == ("settled", {"data": {"id": 1}})
        assert await _posted(store) == 1
        [row] = await parts.deliveries()
        assert (row.state, row.outcome, row.attempts) == ("done", "settled", 1)
        await nothing_is_blocked(parts)


async def test_a_settled_outcome_is_taken_from_the_record_and_not_sent_again(store: Store) -> None:
    provider, tries = Provider(), []

    @calls("bank")
    async def pay(event: Event, ctx: Context) -> None:
        outcome = await ctx.call("pay", provider.send, {"a": 1}, lookup=provider.look_up)
        tries.append(outcome)
        if len(tries) < 3:
            raise RuntimeError("after the call")

    async with assemble(store, PAY, {"pay": pay}) as parts:
        await give(parts, message("pay", {}))
        await parts.settle()

        assert tries == [Settled({"id": 1})] * 3
        assert len(provider.sent) == 1
        assert provider.asked == []


@pytest.mark.parametrize(
    "first",
    [Unknown("time-out"), Pending("in review"), TimeoutError(), ConnectionResetError(), asyncio.CancelledError()],
    ids=lambda one: type(one).__name__,
)
async def test_what_is_not_decided_is_asked_about_before_anything_is_sent_again(store: Store, first: Any) -> None:
    provider = Provider(first)
    outcomes: list[Outcome] = []
    provider.found = [Pending("still"), Settled({"id": 9})]
    async with assemble(store, PAY, {"pay": provider.spec(outcomes)}) as parts:
        await give(parts, message("pay", {"key": "k"}))
        await parts.settle()

        assert len(provider.sent) == 1
        assert len(provider.asked) == 2
        assert outcomes[-1] == Settled({"id": 9})
        assert isinstance(outcomes[0], Pending if isinstance(first, Pending) else Unknown)
        [call] = await parts.rows(t.calls)
        assert (call.state, call.lookups) == ("settled", 2)
        assert await _posted(store) == 1


async def test_without_a_way_to_ask_an_unknown_outcome_goes_to_a_person(store: Store) -> None:
    provider = Provider(Unknown("time-out"))
    async with assemble(store, PAY, {"pay": provider.spec([], with_lookup=False)}) as parts:
        await give(parts, message("pay", {"key": "k"}))
        await parts.settle()

        assert len(provider.sent) == 1
        [row] = await parts.deliveries()
        assert row.state == "parked"
        assert "unknown" in row.reason


async def test_what_the_provider_never_had_is_sent_again_as_the_next_number_under_the_same_key(
    store: Store, clock: SettableClock
) -> None:
    provider = Provider(Unknown("lost"))
    outcomes: list[Outcome] = []
    provider.found = [NotFound(), NotFound()]
    async with assemble(store, PAY, {"pay": provider.spec(outcomes)}, clock=clock) as parts:

        async def backs_off() -> bool:
            return states(await parts.deliveries()) == ["retrying"]

        await give(parts, message("pay", {"key": "k"}))
        await until(backs_off)
        clock.advance(1)
        await until(lambda: len(provider.asked) == 1)
        await until(backs_off)
        # Given up here after 5 s, it may still be on its way there: not found is no answer yet.
        clock.advance(5.0 + UNDER_WAY_S - 2)
        await asyncio.sleep(0.1)
        assert (len(provider.asked), len(provider.sent)) == (1, 1)
        clock.advance(2)
        await parts.settle()

        assert [row.attempts for row in await parts.deliveries()] == [2]

        assert len({key for _, key in provider.sent}) == 1
        assert states(await parts.rows(t.calls), "number", "state") == [(1, "not_found"), (2, "settled")]
        assert outcomes == [Unknown("lost"), Settled({"id": 2})]


async def test_a_provider_that_wants_a_new_id_gets_one_only_after_it_said_that_the_old_one_is_unknown_to_it(
    store: Store,
) -> None:
    provider = Provider(Unknown("lost"))
    provider.found = [Pending(), NotFound(may_repeat=True)]
    async with assemble(store, PAY, {"pay": provider.spec([], key=lambda number: f"capture-{number}")}) as parts:
        await give(parts, message("pay", {"key": "k"}))
        await parts.settle()

        assert [key for _, key in provider.sent] == ["capture-1", "capture-2"]
        assert provider.asked == ["capture-1", "capture-1"]


async def test_a_lookup_that_fails_decides_nothing(store: Store) -> None:
    provider = Provider(Unknown("lost"))
    outcomes: list[Outcome] = []
    provider.found = [ConnectionResetError(), BusyError("busy", delay_s=0.001), Declined("no money")]
    async with assemble(store, PAY, {"pay": provider.spec(outcomes)}) as parts:
        await give(parts, message("pay", {"key": "k"}))
        await parts.settle()

        assert len(provider.sent) == 1
        assert outcomes == [Unknown("lost"), Unknown("ConnectionResetError during the call"), Declined("no money")]
        assert await _posted(store) == 0
        assert states(await parts.deliveries(), "state", "outcome") == [("done", "declined")]


async def test_another_request_under_a_recorded_step_is_refused(store: Store) -> None:
    provider, tries = Provider(Unknown("lost")), []

    @calls("bank")
    async def pay(event: Event, ctx: Context) -> None:
        tries.append(1)
        await ctx.call("pay", provider.send, {"amount": len(tries)}, lookup=provider.look_up)
        raise RetryableError("again")

    async with assemble(store, PAY, {"pay": pay}) as parts:
        await give(parts, message("pay", {}))
        await parts.settle()

        assert len(provider.sent) == 1
        assert states(await parts.deliveries()) == ["parked"]


async def test_a_call_inside_a_reading_is_refused_before_anything_is_sent(store: Store) -> None:
    provider = Provider()

    @calls("bank")
    async def pay(_: Event, ctx: Context) -> None:
        async with ctx.reading():
            await ctx.call("pay", provider.send, {})

    async with assemble(store, PAY, {"pay": pay}) as parts:
        await give(parts, message("pay", {}))
        await parts.settle()

        [row] = await parts.deliveries()
        assert (row.state, row.reason) == ("parked", "step 'pay': leave `async with ctx.reading()` before the call")
        assert provider.sent == []


async def test_a_call_after_a_reading_is_sent(store: Store) -> None:
    provider = Provider()

    @calls("bank")
    async def pay(_: Event, ctx: Context) -> None:
        async with ctx.reading() as session:
            await session.execute(text("SELECT 1"))
        await ctx.call("pay", provider.send, {})

    async with assemble(store, PAY, {"pay": pay}) as parts:
        await give(parts, message("pay", {}))
        await parts.settle()

        assert states(await parts.deliveries()) == ["done"]


async def test_a_busy_provider_uses_up_no_attempt(store: Store) -> None:
    provider = Provider(*(BusyError("429", delay_s=0.002) for _ in range(9)))
    async with assemble(store, PAY, {"pay": provider.spec([], with_lookup=False)}) as parts:
        await give(parts, message("pay", {"key": "k"}))
        await parts.settle()

        assert len(provider.sent) == 10
        assert len({key for _, key in provider.sent}) == 1
        assert states(await parts.deliveries(), "state", "attempts") == [("done", 1)]
        assert len(await parts.rows(t.attempts)) == 9


async def test_silence_is_unknown_after_its_time(store: Store) -> None:
    provider = Provider()
    outcomes: list[Outcome] = []
    provider.found = [Settled({"id": 3})]
    async with assemble(store, PAY, {"pay": provider.spec(outcomes, timeout_s=0.05, fn=provider.never)}) as parts:
        await give(parts, message("pay", {"key": "k"}))
        await parts.settle()

        assert outcomes == [Unknown("no answer within 0.05 s"), Settled({"id": 3})]
        assert len(provider.sent) == 1


async def test_after_a_crash_between_the_call_and_its_record_the_provider_is_asked_first(store: Store) -> None:
    provider = Provider()
    outcomes: list[Outcome] = []
    provider.found = [Settled({"id": 1})]
    spec = provider.spec(outcomes, fn=provider.never)
    async with assemble(store, PAY, {"pay": spec}, start=False) as parts:
        await parts.start()
        await give(parts, message("pay", {"key": "k"}), message("pay", {"key": "k"}))
        await provider.reached.wait()
        await crash(parts)
        assert states(await parts.rows(t.calls)) == ["started"]
    provider.silent.set()
    async with assemble(store, PAY, {"pay": spec}) as parts:
        await parts.settle()

        assert len(provider.sent) == 2, "one for each message"
        assert len(provider.asked) == 1
        assert await _posted(store) == 2
        assert states(await parts.deliveries()) == ["done", "done"]


async def test_while_a_call_hangs_everything_else_goes_on(store: Store) -> None:
    provider, journal = Provider(), Journal()

    @handler
    async def note(event: Event, _: Context) -> None:
        journal.done("note", event.data["n"])

    routes = routing(route("pay", "pay", match="pay"), route("note", "note", match="note"))
    async with assemble(store, routes, {"pay": provider.spec([], fn=provider.never), "note": note}) as parts:
        await give(parts, message("pay", {"key": "k", "n": 0}))
        await provider.reached.wait()
        # The same key on another route, another key on the same route, another writer altogether.
        await give(parts, message("note", {"key": "k", "n": 1}), message("pay", {"key": "other", "n": 2}))
        await until(lambda: journal.of("note") == [1])
        await until(lambda: len(provider.sent) == 2)
        async with asyncio.timeout(STILL_S_MAX):
            await store.write(_touch)
        if store.dialect == "postgresql":
            begun = await _now(store)

            async def none_is_open() -> bool:
                return await _open_since_before(store, begun) == 0

            await until(none_is_open, "every transaction to end that is as old as the call")
        # The chain itself waits.
        await give(parts, message("pay", {"key": "k", "n": 3}))

        async def waits() -> bool:
            return await parts.count("waiting") == 1

        await until(waits)
        assert len(provider.sent) == 2
        provider.silent.set()
        await parts.settle()
        assert [key for key, _ in provider.sent] == ["k", "other", "k"]
        assert states(await parts.deliveries()) == ["done"] * 4


async def test_only_so_many_calls_are_out_and_database_handlers_are_not_crowded_out(store: Store) -> None:
    provider, journal, out = Provider(), Journal(), []

    async def count() -> None:
        out.append(1)
        most.append(len(out))
        await provider.silent.wait()
        out.pop()

    most: list[int] = []
    provider.on_send = count

    @handler
    async def note(event: Event, _: Context) -> None:
        journal.done("note", event.data["n"])

    routes = routing(route("pay", "pay", match="pay"), route("note", "note", match="note"))
    async with assemble(store, routes, {"pay": provider.spec([]), "note": note}, batch_size=10) as parts:
        assert parts.worker is not None
        parts.worker.callers._calls_max = 4
        await give(parts, *(message("pay", {"key": f"k{n}"}) for n in range(60)))
        await until(lambda: len(out) == 4)
        await give(parts, *(message("note", {"key": f"k{n}", "n": n}) for n in range(60)))
        await until(lambda: len(journal.of("note")) == 60, "handlers behind sixty waiting calls")
        commits = await _transactions(store)
        await asyncio.sleep(0.3)
        assert await _transactions(store) - commits < 150, "the loop must not spin while it has no room"

        provider.silent.set()
        await parts.settle()
        assert max(most) == 4
        assert len(provider.sent) == 60
        assert await _posted(store) == 60


async def test_effects_of_a_call_commit_together_with_its_end_or_not_at_all(store: Store) -> None:
    provider, tries = Provider(), []

    @calls("bank")
    async def pay(event: Event, ctx: Context) -> None:
        await ctx.call("pay", provider.send, {})
        await ctx.begin()
        await ctx.session.execute(text("INSERT INTO notes VALUES (1)"))
        await ctx.ledger.post("once", "paid", [Move(BANK, WALLET, Money(5, "VND"))])
        await ctx.publish({"n": 1}, to="out")
        tries.append(1)
        if len(tries) == 1:
            raise RuntimeError("after everything")

    async def table(conn: AsyncConnection) -> None:
        await conn.execute(text("CREATE TABLE notes (n integer PRIMARY KEY)"))

    await store.write(table)
    routes = routing(route("pay", "pay", match="pay"), destinations=["out"])
    async with assemble(store, routes, {"pay": pay}) as parts:
        await give(parts, message("pay", {}))
        await parts.settle()

        assert len(provider.sent) == 1
        assert len(await parts.rows(t.outbox)) == 1
        assert await _posted(store) == 1
        async with store.reading() as conn:
            assert (await conn.execute(text("SELECT count(*) FROM notes"))).scalar_one() == 1


async def test_what_the_books_refuse_after_a_call_is_a_failure_and_the_call_is_not_repeated(store: Store) -> None:
    provider = Provider()

    @calls("bank")
    async def pay(event: Event, ctx: Context) -> None:
        await ctx.call("pay", provider.send, {})
        await ctx.ledger.post("same for all", "paid", [Move(BANK, WALLET, Money(5, "VND"))])

    routes = routing(route("pay", "pay", match="pay", retry="attempts: 2, first: 1ms, longest: 2ms"))
    async with assemble(store, routes, {"pay": pay}) as parts:
        await give(parts, message("pay", {}), message("pay", {}))
        await parts.settle()

        assert sorted(states(await parts.deliveries(), "state", "attempts")) == [("done", 1), ("parked", 2)]
        assert len(provider.sent) == 2
        assert await _posted(store) == 1


async def test_a_call_after_the_books_were_touched_is_refused(store: Store) -> None:
    provider = Provider()

    @calls("bank")
    async def pay(event: Event, ctx: Context) -> None:
        await ctx.ledger.balance(WALLET)
        await ctx.call("pay", provider.send, {})

    async with assemble(store, PAY, {"pay": pay}) as parts:
        await give(parts, message("pay", {}))
        await parts.settle()

        assert provider.sent == []
        assert states(await parts.deliveries()) == ["parked"]


async def test_a_handler_without_the_mark_cannot_call(store: Store) -> None:
    provider = Provider()

    @handler
    async def pay(event: Event, ctx: Context) -> None:
        await ctx.call("pay", provider.send, {})

    async with assemble(store, PAY, {"pay": pay}) as parts:
        await give(parts, message("pay", {}))
        await parts.settle()

        assert provider.sent == []
        [row] = await parts.deliveries()
        assert row.state == "parked"
        assert "@calls" in row.reason


async def test_a_calling_handler_that_hangs_in_its_transaction_gives_the_database_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.deliver.caller.HANDLER_S_MAX", 0.2)
    never = asyncio.Event()

    @calls("bank")
    async def pay(event: Event, ctx: Context) -> None:
        await ctx.ledger.balance(WALLET)
        await never.wait()

    routes = routing(route("pay", "pay", match="pay", retry="attempts: 1, first: 1ms, longest: 1ms"))
    async with assemble(store, routes, {"pay": pay}) as parts:
        await give(parts, message("pay", {}))
        await until(lambda: parts.worker is not None and bool(parts.worker.callers.in_flight))
        async with asyncio.timeout(STILL_S_MAX):
            await asyncio.sleep(0.4)
            await store.write(_touch)
        never.set()
        await parts.settle()

        assert states(await parts.deliveries()) == ["parked"]


async def test_a_calling_delivery_that_loses_a_deadlock_is_run_again_without_a_second_call(store: Store) -> None:
    if store.dialect == "sqlite":
        pytest.skip("one writer cannot meet another crosswise")
    provider, has_first, may_go_on = Provider(), asyncio.Event(), asyncio.Event()
    other = Account("wallet:v", "VND", "credit")

    @calls("bank")
    async def pay(event: Event, ctx: Context) -> None:
        await ctx.call("pay", provider.send, {})
        await ctx.ledger.balance(WALLET)
        has_first.set()
        await may_go_on.wait()
        await ctx.ledger.balance(other)

    async def crosswise(conn: AsyncConnection) -> None:
        book = Book(conn, now=parts.clock.now())
        await book.lock([other])
        await has_first.wait()
        may_go_on.set()
        # The delivery waits first, so that PostgreSQL ends it and not this one.
        await until_one_waits(store)
        await book.lock([WALLET])

    async with assemble(store, PAY, {"pay": pay}) as parts:
        await store.write(lambda conn: Book(conn, now=parts.clock.now()).lock([WALLET, other]))
        await asyncio.gather(store.write(crosswise), give(parts, message("pay", {})))
        await parts.settle()

        assert states(await parts.deliveries(), "state", "attempts") == [("done", 1)]
        assert len(provider.sent) == 1
        assert len(await parts.rows(t.attempts)) == 1


async def test_a_delivery_that_is_marked_as_calling_without_a_task_is_given_back(store: Store) -> None:
    provider = Provider()
    async with assemble(store, PAY, {"pay": provider.spec([])}, start=False) as parts:
        await parts.start()
        # As after a commit whose success was not heard of.
        worker = parts.worker
        assert worker is not None
        start, worker.callers.start = worker.callers.start, lambda work: None  # type: ignore[method-assign]
        await give(parts, message("pay", {"key": "k"}))

        async def calling() -> bool:
            return await parts.count("calling") == 1

        await until(calling)
        worker.callers.start = start  # type: ignore[method-assign]
        await parts.settle()

        assert len(provider.sent) == 1
        assert states(await parts.deliveries()) == ["done"]
        await parts.stop()


async def test_a_call_is_shown_as_waiting_to_those_behind_it_until_it_is_decided(
    store: Store, clock: SettableClock
) -> None:
    provider = Provider(Unknown("lost"))
    provider.found = [Settled({"id": 1})]
    routes = routing(route("pay", "pay", match="pay", retry="attempts: 3, first: 10s, longest: 10s"))
    async with assemble(store, routes, {"pay": provider.spec([])}, clock=clock) as parts:
        await give(parts, message("pay", {"key": "k"}), message("pay", {"key": "k"}))

        async def backs_off() -> bool:
            return states(await parts.deliveries()) == ["retrying", "waiting"]

        await until(backs_off)
        assert len(provider.sent) == 1
        clock.advance(11)
        await parts.settle()
        assert len(provider.sent) == 2


async def _touch(conn: AsyncConnection) -> None:
    await conn.execute(t.received_totals.insert(), [{"source": "elsewhere", "slot": 0, "received": 1}])


async def _posted(store: Store) -> int:
    async with store.reading() as conn:
        return len((await conn.execute(select(entries.c.id))).all())


async def _now(store: Store) -> datetime:
    async with store.reading() as conn:
        now: datetime = (await conn.execute(text("SELECT clock_timestamp()"))).scalar_one()
        return now


async def _open_since_before(store: Store, moment: datetime) -> int:
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'"
        " AND xact_start < :moment"
    )
    async with store.reading() as conn:
        return int((await conn.execute(text(query), {"moment": moment})).scalar_one())


async def _transactions(store: Store) -> int:
    if store.dialect == "sqlite":
        return 0
    async with store.reading() as conn:
        await conn.execute(text("SELECT pg_stat_clear_snapshot()"))
        query = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
        return int((await conn.execute(text(query))).scalar_one())
