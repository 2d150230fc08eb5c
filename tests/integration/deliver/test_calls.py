"""Calls to providers: on record before they leave, asked about before they leave again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hub.calls.outcome import Declined, NotFound, Outcome, Pending, Settled, Unknown
from hub.calls.record import UNDER_WAY_S
from hub.capability import calls
from hub.deliver.context import Context
from hub.errors import BusyError, RetryableError
from hub.event import Event
from hub.store import tables as t
from hub.store.store import Store
from tests.integration.deliver.calling import PAY, Provider, posted
from tests.integration.deliver.workshop import give, message, nothing_is_blocked, states
from tests.support.clock import SettableClock
from tests.support.parts import assemble, crash
from tests.support.patience import until


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
        assert await posted(store) == 1
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
        assert await posted(store) == 1


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
        assert await posted(store) == 0
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
        assert await posted(store) == 2
        assert states(await parts.deliveries()) == ["done", "done"]
