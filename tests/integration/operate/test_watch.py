"""What Prometheus is told of the lists that people work through."""

from __future__ import annotations

from datetime import timedelta

from prometheus_client import REGISTRY

from hub.calls.outcome import NotFound, Settled, Unknown
from hub.capability import calls
from hub.deliver.context import Context
from hub.errors import NotYet
from hub.event import Event
from hub.operate.undecided import AgesOfProvider, count_late, list_undecided, read_ages
from hub.operate.watch import ListsWatch, read_undecided
from hub.store import tables as t
from hub.store.store import Store
from tests.integration.deliver.workshop import give, message, route, routing
from tests.support.clock import SettableClock
from tests.support.parts import Parts, assemble
from tests.support.patience import until

PAY = routing(route("pay", "pay", match="pay"))


def told(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


async def is_in(parts: Parts, state: str) -> bool:
    return [row.state for row in await parts.deliveries()] == [state]


async def test_a_call_in_doubt_is_told_with_its_age_until_it_is_decided(store: Store, clock: SettableClock) -> None:
    decided: list[bool] = []

    @calls("bank")
    async def pay(event: Event, ctx: Context) -> None:
        async def send(_request: object, _key: str) -> Unknown:
            return Unknown("silence")

        async def lookup(_request: object, _key: str) -> Settled | Unknown | NotFound:
            return Settled({}) if decided else Unknown("still silent")

        if isinstance(await ctx.call("pay", send, {}, lookup=lookup), Unknown):
            raise NotYet("nobody knows", within_s=86_400)
        await ctx.begin()
        ctx.review("look", "a person should look at it")

    watch = ListsWatch(store, clock)
    async with assemble(store, PAY, {"pay": pay}, clock=clock) as parts:
        await give(parts, message("pay", {}))
        await until(lambda: is_in(parts, "deferred"))
        await watch.look()
        # A call that has only just begun is in nobody's doubt.
        assert told("hub_calls_undecided", provider="bank", state="unknown") is None
        assert told("hub_reviews_open") == 0

        clock.advance(7_200)
        await watch.look()
        assert told("hub_calls_undecided", provider="bank", state="unknown") == 1
        assert told("hub_calls_undecided_oldest_seconds", provider="bank", state="unknown") == 7_200
        # The console says the same.
        [call] = await list_undecided(store)
        assert call.state == "unknown"
        async with store.reading() as conn:
            for now, counts in (
                (call.started_at + timedelta(seconds=59), (1, 0, 0, 0, 0)),
                (call.started_at + timedelta(seconds=60), (0, 1, 0, 0, 0)),
                (clock.now(), (0, 0, 0, 1, 0)),
                (clock.now() + timedelta(days=9), (0, 0, 0, 0, 1)),
            ):
                assert list(await read_ages(conn, now)) == [AgesOfProvider("bank", counts, call.started_at)]
            assert await count_late(conn, clock.now()) == 1

        decided.append(True)
        clock.advance(7_200)
        await until(lambda: is_in(parts, "done"))
        await watch.look()
        assert told("hub_calls_undecided", provider="bank", state="unknown") is None
        assert told("hub_reviews_open") == 1


async def test_a_call_that_its_handler_has_answered_for_is_in_no_list(store: Store, clock: SettableClock) -> None:
    """Its row stays unknown for ever: what the handler arranged decides, in another delivery."""
    asked: list[str] = []

    @calls("bank")
    async def pay(event: Event, ctx: Context) -> None:
        async def send(_request: object, key: str) -> Unknown:
            asked.append(key)
            return Unknown("silence")

        await ctx.call("pay", send, {})

    async with assemble(store, PAY, {"pay": pay}, clock=clock) as parts:
        await give(parts, message("pay", {}))
        await until(lambda: is_in(parts, "done"))
        clock.advance(7_200)
        now = clock.now()

        [call] = await parts.rows(t.calls)
        assert (len(asked), call.state) == (1, "unknown")
        assert await list_undecided(store) == []
        async with store.reading() as conn:
            assert list(await read_ages(conn, now)) == []
            assert await count_late(conn, now - timedelta(seconds=60)) == 0
            assert list(await read_undecided(conn, now)) == []
