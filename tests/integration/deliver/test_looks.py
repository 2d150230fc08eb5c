"""A round that has taken all there was is the last; where something may be left, the next one needs no sweep."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from hub.capability import HandlerSpec, calls, handler
from hub.deliver.context import Context
from hub.errors import RetryableError
from hub.event import Event
from hub.store.store import Store
from tests.integration.deliver.test_growth import statements
from tests.integration.deliver.workshop import Journal, give, keys_of_one_lane, message, route, routing
from tests.support.parts import Parts, assemble
from tests.support.patience import until

NEVER_S = 600.0


@asynccontextmanager
async def unswept(
    store: Store, routes: str, handlers: Mapping[str, HandlerSpec], *, batch_size: int = 100
) -> AsyncIterator[Parts]:
    """The parts, with a worker that sweeps once at its start and then lives by its signals."""
    async with assemble(store, routes, handlers, start=False) as parts:
        # What the first sweep writes: it may be late, and would find what is accepted meanwhile once more.
        parts.around.flow.workers = 0
        await parts.start(batch_size=batch_size, sweep_s=NEVER_S)
        assert parts.worker is not None
        worker = parts.worker
        await until(lambda: worker._around.flow.workers and not parts.to_deliver)
        try:
            yield parts
        finally:
            await parts.stop()


async def _done(parts: Parts, count: int) -> None:
    async def are_done() -> bool:
        return await parts.count("done") == count

    await until(are_done, f"{count} deliveries without a sweep", moves=parts.progress)


def _noting(journal: Journal) -> HandlerSpec:
    @handler
    async def note(event: Event, _: Context) -> None:
        journal.done(str(event.key), event.data["n"])

    return note


async def test_one_event_is_looked_for_once(store: Store) -> None:
    journal = Journal()
    async with unswept(store, routing(route("note", "note")), {"note": _noting(journal)}) as parts:
        with statements(store) as run:
            for n in range(3):
                await parts.send("a", {"key": f"customer-{n}", "n": n})
                await _done(parts, n + 1)

        assert len([one for one, _ in run if "is_blocked" in one]) == 3


@pytest.mark.parametrize("keys", [["same"], keys_of_one_lane(4), [f"customer-{n}" for n in range(10)]])
async def test_what_one_batch_has_no_room_for_is_taken_by_the_next(store: Store, keys: list[str]) -> None:
    journal = Journal()
    async with unswept(store, routing(route("note", "note")), {"note": _noting(journal)}, batch_size=3) as parts:
        await give(parts, *(message("a", {"key": keys[n % len(keys)], "n": n}) for n in range(10)))
        await _done(parts, 10)

    assert {key: journal.of(key) for key in keys} == {
        key: [n for n in range(10) if keys[n % len(keys)] == key] for key in keys
    }


async def test_a_chain_behind_one_that_is_tried_again_at_once_goes_on(store: Store) -> None:
    journal = Journal()

    @handler
    async def at_second(event: Event, _: Context) -> None:
        journal.tried.append((str(event.key), event.data["n"]))
        if len(journal.tried) == 1:
            raise RetryableError("busy", delay_s=0)
        journal.done(str(event.key), event.data["n"])

    async with unswept(store, routing(route("run", "run")), {"run": at_second}) as parts:
        await give(parts, *(message("a", {"key": "customer", "n": n}) for n in range(5)))
        await _done(parts, 5)

    assert journal.of("customer") == [0, 1, 2, 3, 4]


async def test_a_chain_of_calls_goes_on_one_by_one(store: Store) -> None:
    journal = Journal()

    @calls("bank")
    async def ask(event: Event, _: Context) -> None:
        journal.done(str(event.key), event.data["n"])

    async with unswept(store, routing(route("ask", "ask")), {"ask": ask}) as parts:
        await give(parts, *(message("a", {"key": "customer", "n": n}) for n in range(4)))
        await _done(parts, 4)

    assert journal.of("customer") == [0, 1, 2, 3]


async def test_what_a_handler_emits_is_delivered_next(store: Store) -> None:
    journal = Journal()

    @handler
    async def pass_on(event: Event, ctx: Context) -> None:
        await ctx.emit("b", {"key": "elsewhere", "n": event.data["n"]}, key="elsewhere")

    routes = routing(route("pass-on", "pass_on", match="a"), route("note", "note", match="b"))
    async with unswept(store, routes, {"pass_on": pass_on, "note": _noting(journal)}) as parts:
        await give(parts, *(message("a", {"key": "customer", "n": n}) for n in range(3)))
        await _done(parts, 6)

    assert journal.of("elsewhere") == [0, 1, 2]
