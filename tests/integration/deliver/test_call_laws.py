"""The laws of calls, on random misfortunes: a provider does a thing once, and what we believe is what it did."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Literal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.calls.outcome import Declined, NotFound, Outcome, Settled, Unknown
from hub.capability import HandlerSpec, calls
from hub.deliver.context import Context
from hub.errors import RetryableError
from hub.event import Event
from hub.store.store import Store
from tests.integration.deliver.calling import PAY
from tests.integration.deliver.workshop import forget_everything, give, message
from tests.support.parts import assemble, crash
from tests.support.patience import until

Fate = Literal["answered", "refused", "lost before", "lost after", "silent", "busy", "odd"]
FATES: tuple[Fate, ...] = ("answered", "refused", "lost before", "lost after", "silent", "busy", "odd")
SETTINGS = settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SILENCE_S = 0.02
CHECK_S = 0.001


@dataclass
class Bank:
    """A provider with books. ``done`` and ``refused`` are by key: the same key is never done twice."""

    fates: list[Fate]
    done: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    sent: list[str] = field(default_factory=list)
    silence: asyncio.Event = field(default_factory=asyncio.Event)
    dies_at: int = 0
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, _request: Any, key: str) -> Outcome:
        self.sent.append(key)
        fate: Fate = self.fates.pop(0) if self.fates else "answered"
        if len(self.sent) == self.dies_at:
            # It is done, and whoever asked does not live to hear of it.
            self.done.append(key)
            self.reached.set()
            await self.silence.wait()
        match fate:
            case "answered":
                self.done.append(key)
                return Settled({"n": len(self.done)})
            case "refused":
                self.refused.add(key)
                return Declined("no")
            case "lost before":
                raise ConnectionResetError("on the way there")
            case "lost after":
                self.done.append(key)
                raise ConnectionResetError("on the way back")
            case "silent":
                self.done.append(key)
                await self.silence.wait()
                raise AssertionError("nobody waits so long")
            case "busy":
                raise RetryableError("too many", delay_s=0.0)
            case "odd":
                return Unknown("an answer that says nothing")

    async def look_up(self, _request: Any, key: str) -> Any:
        if key in self.done:
            return Settled({"n": 1})
        return Declined("no") if key in self.refused else NotFound(may_repeat=True)


def paying(bank: Bank, believed: list[Outcome]) -> HandlerSpec:
    """A handler that asks until it knows."""

    @calls("bank")
    async def pay(event: Event, ctx: Context) -> None:
        outcome = await ctx.call("pay", bank.send, {"a": 1}, lookup=bank.look_up, timeout_s=SILENCE_S)
        if not isinstance(outcome, Settled | Declined):
            raise RetryableError("not decided", delay_s=CHECK_S)
        believed.append(outcome)

    return pay


@SETTINGS
@given(fates=st.lists(st.sampled_from(FATES), max_size=4))
async def test_it_is_done_once_under_one_key_and_nobody_believes_otherwise(store: Store, fates: list[Fate]) -> None:
    bank, believed = Bank(list(fates)), list[Outcome]()
    await forget_everything(store)
    async with assemble(store, PAY, {"pay": paying(bank, believed)}) as parts:
        await give(parts, message("pay", {"key": "k"}))
        await parts.settle(also=frozenset({"parked"}))

    assert len(bank.done) <= 1, "done twice"
    assert len(set(bank.sent)) == 1, "under another key"
    assert [isinstance(one, Settled) for one in believed] == [bool(bank.done)] * len(believed)
    # Only the attempts of the route bound how long it asks.
    assert believed or len(bank.sent) > 1


async def test_whoever_dies_between_a_call_and_its_answer_leaves_a_successor_who_asks(store: Store) -> None:
    bank, believed = Bank([], dies_at=1), list[Outcome]()
    pay = paying(bank, believed)
    async with assemble(store, PAY, {"pay": pay}, start=False) as parts:
        await parts.start()
        await give(parts, message("pay", {"key": "k"}))
        async with asyncio.timeout(60):
            await bank.reached.wait()
        await crash(parts)
    bank.dies_at = 0
    async with assemble(store, PAY, {"pay": pay}) as parts:
        await parts.settle()
        await until(lambda: bool(believed))

    assert (len(bank.done), len(bank.sent)) == (1, 1)
