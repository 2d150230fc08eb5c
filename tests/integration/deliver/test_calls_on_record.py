"""When a call is put on record: while it waits for its place; its answer with its delivery's end; a read then only."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from hub.calls.outcome import Outcome, Settled, Unknown
from hub.calls.record import (
    AHEAD_S_MAX,
    CALL_S_MAX,
    REWRITES_MAX,
    STOPPED_S_MAX,
    UNDER_WAY_S,
    CallRecorder,
    Sending,
    Step,
)
from hub.capability import calls
from hub.deliver.context import Context
from hub.errors import RetryableError, StoreUnavailableError
from hub.event import Event
from hub.flow.pauses import lift_pauses
from hub.flow.turn import Turn
from hub.store import tables as t
from hub.store.store import Store
from tests.integration.deliver.calling import PAY, Provider
from tests.integration.deliver.test_flow import Bank, asks, person_pauses, rules, swept
from tests.integration.deliver.workshop import give, message, route, routing, states
from tests.support.clock import SettableClock
from tests.support.parts import Parts, assemble, crash
from tests.support.patience import until
from tests.unit.routing.build import event

ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For what no database decides."""
ONE_AT_ONCE = rules("pay", bank="in_flight: 1")


async def on_record(parts: Parts, count: int) -> None:
    """Until so many calls are."""

    async def are_there() -> bool:
        return len(await parts.rows(t.calls)) == count

    await until(are_there)


async def test_what_waits_for_a_place_is_on_record_and_what_is_put_off_was_never_sent(store: Store) -> None:
    bank = Bank()
    bank.may_answer.clear()
    async with assemble(store, ONE_AT_ONCE, {"pay": bank.spec()}) as parts:
        await give(parts, *asks(2))
        await on_record(parts, 2)
        assert (len(bank.heard), states(await parts.rows(t.calls))) == (1, ["started"] * 2)

        await person_pauses(parts, "provider", "bank")
        await swept(parts)
        bank.may_answer.set()
        await until(lambda: parts.around.flow.provider("bank").in_hand == 0)
        assert sorted(states(await parts.rows(t.calls))) == ["not_found", "settled"]
        assert (bank.heard, bank.asked) == (bank.heard[:1], 0)

        await parts.store.write(lambda conn: lift_pauses(conn, "provider", "bank"))
        await parts.settle()

        # It was certain that nothing had happened, so that nobody had to be asked.
        assert (len(bank.heard), bank.asked) == (2, 0)
        assert sorted(states(await parts.rows(t.calls), "number", "state")) == [
            (1, "not_found"), (1, "settled"), (2, "settled")
        ]  # fmt: skip
        assert set(states(await parts.deliveries(), "state", "attempts")) == {("done", 1)}


@ON_SQLITE
async def test_of_a_call_that_has_waited_for_long_the_time_is_that_of_its_leaving(
    store: Store, clock: SettableClock
) -> None:
    """The time for which it may be under way is reckoned from it."""
    bank, begun = Bank(), clock.now()
    bank.may_answer.clear()
    async with assemble(store, ONE_AT_ONCE, {"pay": bank.spec()}, clock=clock) as parts:
        await give(parts, *asks(2))
        await on_record(parts, 2)
        clock.advance(AHEAD_S_MAX + 1)
        bank.may_answer.set()
        await parts.settle()

        waits = sorted(row.started_at - begun for row in await parts.rows(t.calls))
        assert waits[0] < timedelta(seconds=1)
        assert waits[1] > timedelta(seconds=AHEAD_S_MAX)


@ON_SQLITE
async def test_of_a_call_whose_turn_came_soon_the_record_is_left_as_it_is(store: Store, clock: SettableClock) -> None:
    bank, begun = Bank(), clock.now()
    bank.may_answer.clear()
    async with assemble(store, ONE_AT_ONCE, {"pay": bank.spec()}, clock=clock) as parts:
        await give(parts, *asks(2))
        await on_record(parts, 2)
        clock.advance(AHEAD_S_MAX)
        bank.may_answer.set()
        await parts.settle()

        assert [row.started_at for row in await parts.rows(t.calls)] == [begun, begun]


@ON_SQLITE
async def test_what_was_never_sent_is_said_of_its_own_record_alone(
    store: Store, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own record may have been rolled back unheard, and another's be in its place, who is calling."""
    provider, begin = Provider(), Sending.begin

    async def in_vain(self: Sending) -> None:
        await begin(self)
        later = clock.now() + timedelta(seconds=1)
        await store.write(lambda conn: conn.execute(update(t.calls).values(started_at=later)))
        raise StoreUnavailableError("not heard of", delay_s=1)

    monkeypatch.setattr(Sending, "begin", in_vain)
    recorder = CallRecorder(store, None, clock, is_first=True)
    step = Step(7, event(), "bank", "pay", provider.send, {}, "k", provider.look_up, CALL_S_MAX)
    with pytest.raises(StoreUnavailableError, match="not heard of"):
        await recorder.run(step)
    await recorder.settle()

    async with store.reading() as conn:
        [row] = (await conn.execute(select(t.calls))).all()
    assert (row.state, provider.sent) == ("started", [])


@ON_SQLITE
async def test_where_each_commit_takes_too_long_the_delivery_is_put_off_and_nothing_is_sent(
    store: Store, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider, begin, begin_later, rewritten = Provider(), Sending.begin, CallRecorder.begin_later, list[Sending]()

    async def slowly(self: Sending) -> None:
        await begin(self)
        clock.advance(STOPPED_S_MAX + 1)

    async def slowly_again(self: CallRecorder, sending: Sending) -> None:
        await begin_later(self, sending)
        rewritten.append(sending)
        clock.advance(STOPPED_S_MAX + 1)

    monkeypatch.setattr(Sending, "begin", slowly)
    monkeypatch.setattr(CallRecorder, "begin_later", slowly_again)
    async with assemble(store, PAY, {"pay": provider.spec([])}, clock=clock, start=False) as parts:
        await parts.start()
        worker = parts.worker
        assert worker is not None
        await give(parts, message("pay", {"key": "k"}))
        await until(lambda: len(rewritten) == REWRITES_MAX)
        await until(lambda: not worker.callers.in_flight)

        assert provider.sent == []
        [delivery] = await parts.rows(t.deliveries)
        assert (delivery.state, delivery.attempts) == ("retrying", 0)
        assert delivery.next_at == clock.now() + timedelta(seconds=STOPPED_S_MAX)


@ON_SQLITE
async def test_who_stood_still_between_the_record_and_the_sending_sends_nothing_once_others_have_its_lanes(
    store: Store, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider, begin, has_stopped = Provider(), Sending.begin, asyncio.Event()

    async def stopped_after(self: Sending) -> None:
        await begin(self)
        # As by SIGSTOP, until whoever took over may believe the provider's *not found*.
        clock.advance(CALL_S_MAX + UNDER_WAY_S + 1)
        await store.write(lambda conn: conn.execute(update(t.workers).values(epoch=t.workers.c.epoch + 1)))
        has_stopped.set()

    monkeypatch.setattr(Sending, "begin", stopped_after)
    async with assemble(store, PAY, {"pay": provider.spec([])}, clock=clock, start=False) as parts:
        await parts.start()
        worker = parts.worker
        assert worker is not None
        await give(parts, message("pay", {"key": "k"}))
        await has_stopped.wait()
        await until(lambda: not worker.callers.in_flight)

        assert provider.sent == []


async def test_a_read_is_on_record_once_it_is_answered_and_is_taken_again_after_a_crash(store: Store) -> None:
    provider, outcomes = Provider(), list[Outcome]()

    @calls("bank")
    async def look(event: Event, ctx: Context) -> None:
        for _ in range(2):
            # Asked once more in the same attempt, the answer is the one on record.
            outcomes.append(await ctx.call("look", provider.never, dict(event.data), is_read=True, key="k"))

    async with assemble(store, PAY, {"pay": look}, start=False) as parts:
        await parts.start()
        await give(parts, message("pay", {"key": "k"}))
        await provider.reached.wait()
        assert await parts.rows(t.calls) == []
        await crash(parts)
    provider.silent.set()
    async with assemble(store, PAY, {"pay": look}) as parts:
        await parts.settle()

        assert (len(provider.sent), outcomes) == (2, [Settled({"id": 2})] * 2)
        assert states(await parts.rows(t.calls), "state", "outcome", "key") == [("settled", {"data": {"id": 2}}, "k")]
        assert states(await parts.deliveries()) == ["done"]


@ON_SQLITE
@pytest.mark.parametrize("with_lookup", [True, False])
async def test_what_was_answered_is_known_though_its_handler_fails_for_good(store: Store, with_lookup: bool) -> None:
    provider = Provider(Unknown("first"))
    steps: list[str] = []

    @calls("bank")
    async def pay(event: Event, ctx: Context) -> None:
        lookup = provider.look_up if with_lookup else None
        steps.append(type(await ctx.call("first", provider.send, {"key": "a"}, lookup=lookup)).__name__)
        steps.append(type(await ctx.call("second", provider.send, {"key": "b"}, lookup=lookup)).__name__)
        steps.append(type(await ctx.call("third", look_at_record, {"key": "c"}, is_read=True)).__name__)
        raise ValueError("after the calls")

    async def look_at_record(request: dict[str, Any], _: str) -> Outcome:
        # While the third is out, nothing of what is known before it is in memory alone.
        rows = states(await parts.rows(t.calls), "step", "state")
        assert sorted(rows) == [("first", "unknown"), ("second", "settled")]
        return Settled()

    once = routing(route("pay", "pay", match="pay", retry="attempts: 1, first: 1ms, longest: 4ms"))
    async with assemble(store, once, {"pay": pay}) as parts:
        await give(parts, message("pay", {"key": "k"}))
        await parts.settle()

        assert steps == ["Unknown", "Settled", "Settled"]
        rows = states(await parts.rows(t.calls), "step", "number", "state")
        assert sorted(rows) == [("first", 1, "unknown"), ("second", 1, "settled"), ("third", 1, "settled")]
        assert states(await parts.deliveries()) == ["parked"]


@ON_SQLITE
async def test_what_goes_wrong_after_the_answer_does_not_make_it_unsent(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the provider's place is given back, an error says nothing of the call."""
    provider, outcomes = Provider(), list[Outcome]()
    async with assemble(store, PAY, {"pay": provider.spec(outcomes)}) as parts:
        bank = parts.around.flow.provider("bank")
        learn, fails = bank._learn, [True]

        async def learn_late(turn: Turn) -> None:
            await learn(turn)
            if fails:
                fails.clear()
                raise RetryableError("the store is away", delay_s=0.001)

        monkeypatch.setattr(bank, "_learn", learn_late)
        await give(parts, message("pay", {"key": "k"}))
        await parts.settle()

        assert (len(provider.sent), provider.asked, outcomes) == (1, [], [Settled({"id": 1})])
        assert states(await parts.rows(t.calls), "number", "state") == [(1, "settled")]
        assert states(await parts.deliveries()) == ["done"]


@ON_SQLITE
async def test_of_calls_at_once_none_loses_its_answer_to_the_record_of_another(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is answered while another is put on record: in that transaction it was not written."""
    answered, leaves, may_answer = asyncio.Event(), asyncio.Event(), asyncio.Event()
    transaction = store._transaction

    async def waits(request: dict[str, Any], _: str) -> Outcome:
        leaves.set()
        await may_answer.wait()
        answered.set()
        return Settled(request)

    async def at_once(request: dict[str, Any], _: str) -> Outcome:
        return Settled(request)

    async def after_the_other(*given: Any, **more: Any) -> Any:
        result = await transaction(*given, **more)
        if asyncio.current_task() in held:
            # What this one has written is known by now; the other's answer comes only now.
            may_answer.set()
            await answered.wait()
            await asyncio.sleep(0.01)
        return result

    held: set[Any] = set()

    async def second(ctx: Context) -> Outcome:
        await leaves.wait()
        held.add(asyncio.current_task())
        return await ctx.call("second", at_once, {"n": 2}, lookup=Provider().look_up)

    @calls("bank")
    async def pay(event: Event, ctx: Context) -> None:
        first = ctx.call("first", waits, {"n": 1}, lookup=Provider().look_up)
        assert list(await asyncio.gather(first, second(ctx))) == [Settled({"n": 1}), Settled({"n": 2})]

    monkeypatch.setattr(store, "_transaction", after_the_other)
    async with assemble(store, PAY, {"pay": pay}) as parts:
        await give(parts, message("pay", {"key": "k"}))
        await parts.settle()

        assert sorted(states(await parts.rows(t.calls), "step", "state")) == [
            ("first", "settled"), ("second", "settled")
        ]  # fmt: skip
        assert states(await parts.deliveries()) == ["done"]


@ON_SQLITE
@pytest.mark.parametrize("cut", ["the turn's time", "unheard commit"])
async def test_a_call_that_is_cut_off_as_it_is_put_on_record_was_never_sent(
    store: Store, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    """Its row is committed, and nobody has heard of it: there is nothing to ask about all the same."""
    bank, cuts = Bank(), ["waits"]
    bank.may_answer.clear()
    begin = Sending.begin
    transaction = store._transaction
    task: list[Any] = []

    async def known(sending: Sending) -> None:
        if bank.heard and cuts:
            task.append(asyncio.current_task())
        await begin(sending)

    async def cut_off(*given: Any, **more: Any) -> Any:
        result = await transaction(*given, **more)
        if asyncio.current_task() in task and cuts:
            cuts.clear()
            bank.may_answer.set()
            if cut == "unheard commit":
                raise StoreUnavailableError("the connection was lost", delay_s=0.001)
            # The turn's time-out ends this wait as it ends that for the commit's answer.
            await asyncio.Event().wait()
        return result

    async with assemble(store, ONE_AT_ONCE, {"pay": bank.spec()}) as parts:
        await give(parts, *asks(1))
        await until(lambda: bank.out == 1)
        monkeypatch.setattr("hub.flow.provider.TURN_S_MAX", 0.3)
        monkeypatch.setattr(Sending, "begin", known)
        monkeypatch.setattr(store, "_transaction", cut_off)
        await give(parts, *asks(1, start=1))
        await parts.settle()

        assert not cuts
        assert (bank.heard, bank.asked) == (["pay-0", "pay-1"], 0)
        assert set(states(await parts.rows(t.calls))) == {"not_found", "settled"}
