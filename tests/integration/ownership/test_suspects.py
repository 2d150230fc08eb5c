"""What a dead worker may have had in hand, found among more than one look reads."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.capability import handler
from hub.deliver.blocking import Block, block_chains
from hub.deliver.context import Context
from hub.event import Event
from hub.ownership.suspects import in_hand
from hub.store import tables as t
from hub.store.store import Store
from tests.integration.deliver.workshop import ALL_LANES, give, keys_of_one_lane, message, route, routing
from tests.support.parts import Parts, assemble

ROUTES = routing(route("paused", "run", match="slow"), route("running", "run", match="quick"))


@handler
async def run(event: Event, ctx: Context) -> None:
    """Nothing."""


async def test_what_ran_behind_a_route_that_stood_still_is_suspect(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker that died has passed them over, and nobody knows it any more."""
    monkeypatch.setattr("hub.ownership.suspects.CAUTIOUS_PER_LANE", 2)
    monkeypatch.setattr("hub.ownership.suspects.DEFERRED_MAX", 2)
    async with assemble(store, ROUTES, {"run": run}, start=False) as parts:
        types = ["slow", "slow", "slow", "quick", "quick", "quick"]
        ready = await _given(parts, types)
        deferred = await _given(parts, types)
        await store.write(_deferred(deferred, parts))

        assert await _suspects(parts) == {*ready[:2], *ready[3:5], *deferred[:2], *deferred[3:5]}


async def test_what_ran_behind_a_chain_that_stood_still_is_suspect(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.ownership.suspects.CAUTIOUS_PER_LANE", 2)
    async with assemble(store, ROUTES, {"run": run}, start=False) as parts:
        key, other = keys_of_one_lane(2)
        ids = await _given(parts, ["slow"] * 5, keys=[key, key, key, other, other])
        await store.write(_blocked(parts, ids[:1], state="parked"))

        assert await _suspects(parts) == {*ids[3:]}


async def test_of_many_chains_that_are_due_the_first_of_each_route_are_suspect(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.ownership.suspects.DUE_CHAINS_MAX", 2)
    async with assemble(store, ROUTES, {"run": run}, start=False) as parts:
        ids = await _given(parts, ["slow", "slow", "slow", "quick", "quick", "quick"])
        await store.write(_blocked(parts, ids, state="backoff"))

        assert await _suspects(parts) == {*ids[:2], *ids[3:5]}


async def _given(parts: Parts, types: list[str], *, keys: list[str] | None = None) -> list[int]:
    """Deliveries of one lane, each in a chain of its own unless ``keys`` says otherwise."""
    before = {row.id for row in await parts.deliveries()}
    pairs = zip(types, keys or keys_of_one_lane(len(types)), strict=True)
    await give(parts, *(message(type_, {"key": key}) for type_, key in pairs))
    rows = [row for row in await parts.deliveries() if row.id not in before]
    assert len({row.lane for row in rows}) == 1
    return sorted(row.id for row in rows)


async def _suspects(parts: Parts) -> set[int]:
    async with parts.store.reading() as conn:
        return set(await in_hand(conn, ALL_LANES, parts.clock.now()))


def _deferred(ids: list[int], parts: Parts) -> Any:
    async def work(conn: AsyncConnection) -> None:
        for place, one in enumerate(ids):
            at = parts.clock.now() - timedelta(hours=1) + timedelta(seconds=place)
            await conn.execute(
                update(t.deliveries).where(t.deliveries.c.id == one).values(state="deferred", next_at=at)
            )

    return work


def _blocked(parts: Parts, heads: list[int], *, state: Any) -> Any:
    """The chains of these stand still; one in backoff since a while."""

    async def work(conn: AsyncConnection) -> None:
        d = t.deliveries
        for place, one in enumerate(heads):
            row = (await conn.execute(d.select().where(d.c.id == one))).one()
            at = None if state == "parked" else parts.clock.now() - timedelta(hours=1) + timedelta(seconds=place)
            new = "parked" if state == "parked" else "retrying"
            await conn.execute(update(d).where(d.c.id == one).values(state=new))
            await block_chains(conn, [Block(row.chain, row.lane, one, state, at)])

    return work
