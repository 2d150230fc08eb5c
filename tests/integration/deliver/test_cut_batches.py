"""What a batch reads and in which order, so that it may be cut anywhere; and what becomes of one that is ended."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.capability import handler
from hub.deliver import batch, picker
from hub.deliver.batch import BatchRunner
from hub.deliver.context import Context
from hub.deliver.picker import Picked, pick
from hub.deliver.work import Work, work_of
from hub.event import Event
from hub.store import tables as t
from hub.store.store import Store
from tests.integration.deliver.workshop import (
    ALL_LANES,
    Journal,
    give,
    keys_of_one_lane,
    message,
    route,
    routing,
    states,
)
from tests.support.parts import Parts, assemble

LIMIT = 20


@handler
async def note(event: Event, ctx: Context) -> None:
    """All is well."""


async def picked_of(parts: Parts, *, turn: int = 0, limit: int = LIMIT) -> Picked:
    now, targets = parts.clock.now(), parts.rules.targets_of
    return await parts.store.write(lambda conn: pick(conn, ALL_LANES, limit=limit, now=now, targets=targets, turn=turn))


async def fall_due(parts: Parts) -> None:
    """As if the first delivery of each chain had failed, and its back-off were over; the others wait behind it."""
    due_at = parts.clock.now() - timedelta(seconds=1)
    d = t.deliveries

    async def work(conn: AsyncConnection) -> None:
        heads = select(d.c.chain, func.min(d.c.lane).label("lane"), func.min(d.c.id).label("head")).group_by(d.c.chain)
        rows = [row._asdict() | {"state": "backoff", "next_at": due_at} for row in await conn.execute(heads)]
        await conn.execute(insert(t.blocked), rows)
        await conn.execute(update(d).values(state="waiting"))

    await parts.store.write(work)


async def test_the_due_and_the_new_take_turns_and_no_more_is_read_than_a_batch_may_take(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    def counted(row: Any, event: Event) -> Work:
        read.append(row.id)
        return work_of(row, event)

    monkeypatch.setattr(picker, "work_of", counted)
    async with assemble(store, routing(route("note", "note")), {"note": note}, start=False) as parts:
        await give(parts, *(message("due", {"n": n, "key": f"due-{n % 30}"}) for n in range(300)))
        await fall_due(parts)
        await give(parts, *(message("new", {"n": n, "key": f"new-{n}"}) for n in range(30)))

        picks = [await picked_of(parts, turn=turn) for turn in range(3)]

        assert len(read) <= 3 * 2 * LIMIT
        for picked in picks:
            types = [work.event.type for work in picked.works]
            assert types in (["due", "new"] * (LIMIT // 2), ["new", "due"] * (LIMIT // 2))
            # Those for which there was no place stay due, before all that falls due later.
            assert picked.drained == {work.chain for work in picked.works if work.event.type == "due"}
        assert {picked.works[0].event.type for picked in picks} == {"due", "new"}, "whoever is cut short serves both"


async def test_of_few_due_chains_many_are_read_each_in_its_order(store: Store) -> None:
    async with assemble(store, routing(route("note", "note")), {"note": note}, start=False) as parts:
        await give(parts, *(message("due", {"n": n, "key": f"k{n % 2}"}) for n in range(60)))
        await fall_due(parts)

        works = (await picked_of(parts)).works

        assert sorted(work.event.data["n"] for work in works) == list(range(LIMIT))
        for key in ("k0", "k1"):
            numbers = [work.event.data["n"] for work in works if work.event.data["key"] == key]
            assert numbers == sorted(numbers)


async def test_a_search_for_the_one_at_fault_runs_its_parts_whole(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal()
    monkeypatch.setattr(batch, "BATCH_S_MAX", 60.0)

    @handler
    async def run(event: Event, ctx: Context) -> None:
        # For all that comes after the first batch there is no time.
        monkeypatch.setattr(batch, "BATCH_S_MAX", 0.0)
        if event.data["key"] == bad:
            ctx.tag("half a character", "\ud800")
        journal.done(event.data["key"], event.data["n"])

    good, bad = keys_of_one_lane(2)
    patience = "attempts: 1, first: 1ms, longest: 1ms"
    async with assemble(store, routing(route("run", "run", retry=patience)), {"run": run}) as parts:
        await give(parts, *(message("a", {"n": n, "key": bad if n == 6 else good}) for n in range(1, 9)))
        await parts.settle()

        # The second half stands behind all of the first: in one chain it must not run before it.
        assert journal.last_of(good) == [1, 2, 3, 4, 5, 7, 8]
        assert sorted(states(await parts.deliveries())) == ["done"] * 7 + ["parked"]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_batch_that_was_ended_because_it_lay_idle_is_run_again_in_halves(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.ownership.member.IDLE_S_MAX", 1)
    sizes: list[int] = []
    run_batch = BatchRunner.run

    async def counted(self: BatchRunner, conn: Any, works: Sequence[Any], *rest: Any, **more: Any) -> Any:
        sizes.extend([len(works)] if works else [])
        return await run_batch(self, conn, works, *rest, **more)

    monkeypatch.setattr(BatchRunner, "run", counted)

    @handler
    async def run(event: Event, ctx: Context) -> None:
        if sizes[-1] > 1:
            await asyncio.sleep(1.5)

    async with assemble(store, routing(route("run", "run")), {"run": run}) as parts:
        await give(parts, *(message("a", {"key": key}) for key in keys_of_one_lane(2)))
        await parts.settle()

        assert sizes == [2, 1, 1]
        assert states(await parts.deliveries(), "state", "attempts") == [("done", 1)] * 2
