"""Flow control of deliveries: a provider's bounds, its circuit, and what people pause."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from hub.api import HubApi
from hub.calls.outcome import Outcome, Settled, Unknown
from hub.capability import HandlerSpec, calls, handler
from hub.deliver.context import Context
from hub.errors import BusyError, RetryableError, UnreachableError
from hub.event import Event
from hub.flow.pauses import Pause, lift_pauses, put_pause, read_pauses
from hub.flow.priority import Priority
from hub.operate.pausing import list_providers
from hub.store import tables as t
from hub.store.store import Store
from tests.integration.deliver.workshop import Journal, give, message, route, routing, states
from tests.support.clock import SettableClock
from tests.support.parts import Parts, assemble
from tests.support.patience import until

Answer = Callable[[dict[str, Any]], Outcome | BaseException]


class Bank:
    """A provider that remembers who called it, how many at once at most, and answers as a test says."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.answer: Answer = answer or (lambda _: Settled())
        self.heard: list[Any] = []
        self.asked = 0
        self.out = 0
        self.most = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def send(self, request: dict[str, Any], _: str) -> Outcome:
        self.heard.append(request["n"])
        self.out += 1
        self.most = max(self.most, self.out)
        await self.may_answer.wait()
        self.out -= 1
        answer = self.answer(request)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def look_up(self, request: dict[str, Any], _: str) -> Outcome:
        self.asked += 1
        answer = self.answer(request)
        return answer if not isinstance(answer, BaseException) else Unknown()

    def spec(self, priority: Priority = Priority.MONEY) -> HandlerSpec:
        """A handler that calls once, and again until it is decided."""

        @calls("bank", priority=priority)
        async def ask(event: Event, ctx: Context) -> None:
            outcome = await ctx.call("ask", self.send, dict(event.data), lookup=self.look_up)
            if isinstance(outcome, Unknown):
                if outcome.reason == "maintenance":
                    await ctx.pause_provider(60, "maintenance")
                raise RetryableError("not decided", delay_s=0.001)

        spec: HandlerSpec = ask
        return spec


def asks(count: int, type_: str = "pay", start: int = 0) -> list[Any]:
    return [message(type_, {"n": f"{type_}-{n}", "key": f"{type_}-{n}"}) for n in range(start, start + count)]


def rules(*names: str, bank: str = "") -> str:
    return routing(*(route(name, name, match=name) for name in names)) + f"providers: {{ bank: {{ {bank} }} }}\n"


async def pauses_of(store: Store) -> list[Pause]:
    async with store.reading() as conn:
        return await read_pauses(conn)


async def person_pauses(parts: Parts, kind: Any, name: str) -> None:
    row = Pause(
        kind=kind, name=name, cause="person", paused_by="anna", reason="a drill", since=parts.clock.now(), until=None
    )
    await parts.store.write(lambda conn: put_pause(conn, row))


async def swept(parts: Parts) -> None:
    """Until the worker has looked once more at what stands still."""
    looks = 0
    flow, look = parts.around.flow, parts.around.flow.look

    async def counted(source: Any) -> None:
        nonlocal looks
        await look(source)
        looks += 1

    def is_done() -> bool:
        if isinstance(parts.clock, SettableClock):
            parts.clock.advance(0.01)
        return looks >= 2

    flow.look = counted  # type: ignore[method-assign]
    await until(is_done, "two sweeps")
    flow.look = look  # type: ignore[method-assign]


async def test_a_provider_gets_as_many_calls_at_once_as_it_takes_and_who_moves_money_goes_first(store: Store) -> None:
    bank = Bank()
    bank.may_answer.clear()
    handlers = {"pay": bank.spec(), "sweep": bank.spec(Priority.SWEEP)}
    async with assemble(store, rules("pay", "sweep", bank="in_flight: 4"), handlers) as parts:
        await give(parts, *asks(20, "sweep"))
        await until(lambda: bank.out == 1, "a sweep leaves room for others")
        await give(parts, *asks(20, "pay"))
        await until(lambda: bank.out == 4)
        await swept(parts)
        assert (bank.out, sum(n.startswith("sweep") for n in bank.heard)) == (4, 1)

        bank.may_answer.set()
        await parts.settle()

        assert bank.most == 4
        last_pay = max(place for place, n in enumerate(bank.heard) if n.startswith("pay"))
        assert sum(n.startswith("sweep") for n in bank.heard[:last_pay]) <= 5
        assert set(states(await parts.deliveries(), "state", "attempts")) == {("done", 1)}


async def test_a_rate_is_kept_and_a_burst_is_let_through(store: Store, clock: SettableClock) -> None:
    bank = Bank()
    routes = rules("pay", bank="rate: { per_second: 10, burst: 3 }")
    async with assemble(store, routes, {"pay": bank.spec()}, clock=clock) as parts:
        await give(parts, *asks(8))
        await until(lambda: len(bank.heard) == 3)
        clock.advance(0.25)
        await until(lambda: len(bank.heard) == 5)
        # The bucket looks again by the loop's time, which this clock does not move.
        await asyncio.sleep(0.1)
        assert len(bank.heard) == 5, "half a token is none"
        clock.advance(0.31)
        await until(lambda: len(bank.heard) == 8)
        await parts.settle()


async def test_who_does_not_answer_is_left_alone_until_one_call_has_tried_it(
    store: Store, clock: SettableClock
) -> None:
    # Neither silence nor a connection that does not come about is an answer.
    kinds: Iterator[Outcome | BaseException] = itertools.cycle(
        [Unknown("no answer"), UnreachableError("refused", delay_s=0.01)]
    )
    bank = Bank(lambda _: next(kinds))
    routes = rules("pay", bank="in_flight: 2, circuit: { failures: 4, open: 30s }")
    async with assemble(store, routes, {"pay": bank.spec()}, clock=clock) as parts:
        await give(parts, *asks(10))
        await turning(parts, clock, lambda: bool(parts.around.flow.pause_of("provider", "bank")))
        await until(lambda: parts.around.flow.provider("bank").in_hand == 0)
        calls_made = len(bank.heard) + bank.asked
        attempts = sum(states(await parts.deliveries(), "attempts"))
        [pause] = await pauses_of(store)
        assert (pause.kind, pause.name, pause.cause) == ("provider", "bank", "circuit")
        assert (pause.until or clock.now()) > clock.now()
        [view] = await list_providers(store, clock, {"bank": list(parts.rules.calling)}, parts.wiring.providers)
        assert (view.state, view.in_flight_max, view.waiting, view.until) == ("circuit open", 2, 10, pause.until)

        clock.advance(20)
        await swept(parts)
        assert len(bank.heard) + bank.asked == calls_made, "while it is open nothing is tried"
        assert sum(states(await parts.deliveries(), "attempts")) == attempts, "and no attempt is used up"

        clock.advance(20)
        await turning(parts, clock, lambda: len(bank.heard) + bank.asked == calls_made + 1)
        await until(lambda: parts.around.flow.pause_of("provider", "bank") is not None, "open again")
        await swept(parts)
        assert len(bank.heard) + bank.asked == calls_made + 1, "half open, one tries"

        bank.answer = lambda _: Settled()
        clock.advance(40)
        await parts_settle(parts, clock)

        assert await pauses_of(store) == []
        assert set(states(await parts.deliveries())) == {"done"}


async def turning(parts: Parts, clock: SettableClock, condition: Callable[[], bool]) -> None:
    """Until a condition holds, with the clock running."""

    def moved() -> bool:
        clock.advance(0.01)
        return condition()

    await until(moved)


async def parts_settle(parts: Parts, clock: SettableClock) -> None:
    async def is_settled() -> bool:
        clock.advance(0.5)
        return not await parts.count("ready", "waiting", "calling", "retrying")

    await until(is_settled, "every delivery")


async def test_a_provider_that_says_too_many_or_is_maintained_is_left_alone_by_all_its_routes(
    store: Store, clock: SettableClock
) -> None:
    answers: list[Outcome | BaseException] = []
    bank = Bank(lambda _: answers.pop() if answers else Settled())
    handlers = {"pay": bank.spec(), "read": bank.spec(Priority.READ)}
    said: dict[str, Outcome | BaseException] = {
        "busy": BusyError("429", delay_s=50),
        "handler": Unknown("maintenance"),
    }
    async with assemble(store, rules("pay", "read"), handlers, clock=clock) as parts:
        for number, (cause, answer) in enumerate(said.items()):
            answers.append(answer)
            await give(parts, *asks(1, "pay", start=number))
            await turning(parts, clock, lambda: bool(parts.around.flow.pause_of("provider", "bank")))
            await until(lambda: parts.around.flow.provider("bank").in_hand == 0)
            heard = len(bank.heard) + bank.asked
            await give(parts, *asks(1, "read", start=number))
            await swept(parts)
            assert len(bank.heard) + bank.asked == heard
            assert [one.cause for one in await pauses_of(store) if one.holds(clock.now())] == [cause]
            clock.advance(70)
            await parts_settle(parts, clock)
        assert states(await parts.deliveries(), "route", "state", "attempts") == [
            ("pay", "done", 1),
            ("read", "done", 1),
            ("pay", "done", 2),
            ("read", "done", 1),
        ]


@pytest.mark.parametrize("kind", ["route", "provider"])
async def test_what_a_person_pauses_waits_without_using_attempts_and_nothing_else_does(store: Store, kind: str) -> None:
    bank, journal = Bank(), Journal()

    @handler
    async def note(event: Event, _: Context) -> None:
        journal.done("note", event.data["n"])

    handlers = {"pay": bank.spec(), "note": note}
    async with assemble(store, rules("pay", "note"), handlers) as parts:
        name = "pay" if kind == "route" else "bank"
        await person_pauses(parts, kind, name)
        await swept(parts)
        both = [message("pay", {"n": n, "key": "k"}) for n in range(5)]
        await give(parts, *both, *(message("note", {"n": n, "key": "k"}) for n in range(5)))
        await until(lambda: journal.of("note") == [0, 1, 2, 3, 4])
        await swept(parts)
        assert bank.heard == []
        assert states(await parts.deliveries(), "state", "attempts")[:5] == [("ready", 0)] * 5

        await parts.store.write(lambda conn: lift_pauses(conn, kind, name))  # type: ignore[arg-type]
        await parts.settle()

        assert bank.heard == [0, 1, 2, 3, 4]
        assert await parts.rows(t.attempts) == []


async def test_who_waits_for_a_page_takes_the_same_turns_as_a_handler(store: Store) -> None:
    async with assemble(
        store, rules("pay", bank="circuit: { failures: 2 }"), {"pay": Bank().spec()}, start=False
    ) as parts:
        api = HubApi(cast(Any, parts))
        await person_pauses(parts, "provider", "bank")
        with pytest.raises(BusyError, match=r"paused since .* by anna because a drill"):
            async with api.turn("bank"):
                raise AssertionError("it stands still")

        await store.write(lambda conn: lift_pauses(conn, "provider", "bank"))
        for _ in range(2):
            async with api.turn("bank") as turn:
                turn.saw(Unknown("no answer"))

        assert [one.cause for one in await pauses_of(store)] == ["circuit"]
        with pytest.raises(BusyError):
            async with api.turn("bank"):
                raise AssertionError("its circuit is open")
