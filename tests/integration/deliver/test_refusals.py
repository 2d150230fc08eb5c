"""Senders that a handler proves later: what is refused is kept and counted, and a forged message holds no identity."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hub.calls.outcome import Settled
from hub.capability import HandlerSpec, calls, handler
from hub.deliver.context import Context
from hub.errors import NotYet, PermanentError
from hub.event import Event, Verdict
from hub.operate.equation import check
from hub.operate.reading import TodaysRules
from hub.operate.replay import replay
from hub.store import tables as t
from hub.store.store import Store
from tests.integration.deliver.workshop import route
from tests.support.clock import SettableClock
from tests.support.parts import Parts, assemble

ROUTES = """\
  gate:
    webhook: { path: /webhooks/gate, auth: { scheme: none } }
    event: { type: gate.received, id: [[body_hash, headers.x-transmission]] }
    verify: deferred
routes:
""" + route("prove", "prove", match="gate.received")


class Gate:
    """Proves messages by their header; ``key`` may be corrected meanwhile."""

    def __init__(self) -> None:
        self.key = "right"
        self.seen: list[str] = []

    async def prove(self, event: Event, ctx: Context) -> None:
        if event.headers["x-sign"] == "unknown":
            if ctx.waited_s >= 60:
                await ctx.emit("gate.refused", {"reason": "verification_unavailable"})
                return ctx.refuse("verification_unavailable", "nobody could be asked")
            raise NotYet("nobody can be asked now", within_s=120, on_deadline="gave_up", refuses=True)
        if event.headers["x-sign"] != self.key:
            await ctx.emit("gate.refused", {"reason": "signature"})
            return ctx.refuse("invalid", "the signature does not fit")
        claim = await ctx.claim("event", event.data["id"])
        self.seen.append(event.headers["x-transmission"])
        if not claim.is_ours:
            return ctx.conclude("repeat" if claim.is_same else "conflict")
        await ctx.emit("gate.proven", event.data, dedupe_id=event.data["id"])
        return ctx.conclude("proven")

    @property
    def spec(self) -> HandlerSpec:
        async def prove(event: Event, ctx: Context) -> None:
            await self.prove(event, ctx)

        return handler(prove)

    @property
    def calling(self) -> HandlerSpec:
        async def prove(event: Event, ctx: Context) -> None:
            async def send(_: object, key: str) -> Settled:
                return Settled({})

            await ctx.call("ask", send, {})
            await self.prove(event, ctx)

        return calls("gate")(prove)


async def come(parts: Parts, sign: str, body: bytes, transmission: str) -> Any:
    headers = {"x-sign": sign, "x-transmission": transmission}
    return await parts.send("", body, source="gate", headers=headers, verdict=Verdict.UNDECIDED)


def ends(rows: list[Any]) -> list[tuple[str, str | None]]:
    return [(row.state, row.outcome) for row in rows if row.route == "prove"]


@pytest.mark.parametrize("kind", ["spec", "calling"])
async def test_a_forged_message_is_refused_and_takes_nothing_from_the_genuine_one(
    store: Store, clock: SettableClock, kind: str
) -> None:
    gate = Gate()
    body = b'{"id": "e-1", "amount": 5}'
    async with assemble(store, ROUTES, {"prove": getattr(gate, kind)}, clock=clock) as parts:
        forged = await come(parts, "wrong", body, "t-0")
        await come(parts, "wrong", b"not JSON at all \xff", "t-0")
        await parts.settle()
        await come(parts, "right", body, "t-1")
        assert (await come(parts, "right", body, "t-1")).kind == "duplicate"
        await parts.settle()
        await come(parts, "right", json.dumps(json.loads(body), indent=1).encode(), "t-2")
        await come(parts, "right", b'{"id": "e-1", "amount": 6}', "t-3")
        await parts.settle()

        refused = ("refused", "invalid")
        assert ends(await parts.deliveries()) == [
            refused, refused, ("done", "proven"), ("done", "repeat"), ("done", "conflict"),
        ]  # fmt: skip
        assert [row.type for row in await parts.rows(t.inbox) if row.source == "internal"] == [
            "gate.refused", "gate.refused", "gate.proven",
        ]  # fmt: skip
        report = await check(store)
        assert report.violations == ()
        assert (report.states["refused"], report.states["applied"]) == (2, 3)

        # The refusal was ours, by a wrong setting: a person has it proven again. The claim tells that it is a repeat.
        gate.key = "wrong"
        rules = TodaysRules(parts.wiring.drafter, parts.rules.route_ids)
        ids = [str(forged.event_id)]
        [pair] = await replay(store, clock, ids, rules, apply=True, actor="ana")
        assert (pair.verdict, pair.state) == ("retried", "refused")
        await parts.settle()
        [proven] = await parts.deliveries(forged.event_id)
        assert (proven.state, proven.outcome, proven.attempts) == ("done", "repeat", 1)
        assert (await check(store)).violations == ()


async def test_what_cannot_be_proven_in_its_time_ends_refused_with_what_tells_of_it(
    store: Store, clock: SettableClock
) -> None:
    gate = Gate()
    async with assemble(store, ROUTES, {"prove": gate.spec}, clock=clock) as parts:
        await come(parts, "unknown", b"{}", "t-1")
        await parts.settle()
        assert ends(await parts.deliveries()) == [("deferred", None)]
        clock.advance(61)
        await parts.settle(also=frozenset())
        while await parts.count("deferred"):
            await parts.settle()

        assert ends(await parts.deliveries()) == [("refused", "verification_unavailable")]
        assert [row.type for row in await parts.rows(t.inbox)] == ["gate.received", "gate.refused"]


async def test_only_what_is_proven_claims_and_what_fails_claims_nothing(store: Store) -> None:
    done: list[str] = []

    @handler
    async def prove(event: Event, ctx: Context) -> None:
        if event.headers["x-sign"] == "refuse first":
            ctx.refuse("invalid", "no")
        claim = await ctx.claim("event", "e-1", same=[1])
        if event.headers["x-sign"] == "claim first":
            ctx.refuse("invalid", "no")
        if event.headers["x-sign"] == "fail":
            raise PermanentError("after the claim")
        done.append("ours" if claim.is_ours else "another's")

    async with assemble(store, ROUTES, {"prove": prove}) as parts:
        for number, sign in enumerate(("refuse first", "claim first", "fail", "well", "well")):
            await come(parts, sign, b"{}", f"t-{number}")
        await parts.settle()

        assert done == ["ours", "another's"] or done == ["another's", "ours"]
        assert sorted(row.state for row in await parts.deliveries()) == ["done", "done", "parked", "parked", "parked"]
