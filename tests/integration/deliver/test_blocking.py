"""Chains that two transactions block and release at once: none is left waiting with nothing to wake it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.deliver.blocking import Behind, Block, block_chains, release_chains
from hub.store import tables as t
from hub.store.store import Store
from tests.support.databases import Databases
from tests.support.locks import until_one_waits

CHAIN = 7
NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)


@pytest.fixture
async def postgres(databases: Databases) -> AsyncIterator[Store]:
    """Two transactions at once are PostgreSQL's alone: SQLite has one writer."""
    address = await databases.fresh("postgresql")
    store = Store.open(address)
    await store.write(_calling_with_one_behind)
    yield store
    await store.close()
    await databases.drop(address)


async def _calling_with_one_behind(conn: AsyncConnection) -> None:
    plain = {"route_id": 1, "lane": 1, "chain": CHAIN, "barrier": False, "unsure": False, "attempts": 0}
    rows = [
        {**plain, "id": number, "event_seq": number, "event_id": uuid4(), "state": state}
        for number, state in ((1, "calling"), (2, "ready"))
    ]
    await conn.execute(insert(t.deliveries), rows)
    await block_chains(conn, [Block(CHAIN, 1, 1, "calling", None)])


async def _end_call(conn: AsyncConnection) -> None:
    await conn.execute(update(t.deliveries).where(t.deliveries.c.id == 1).values(state="done"))
    await release_chains(conn, [CHAIN], now=NOW)


async def _state(store: Store) -> tuple[str, list[str]]:
    async with store.reading() as conn:
        state = await conn.scalar(select(t.deliveries.c.state).where(t.deliveries.c.id == 2))
        return str(state), [row.state for row in await conn.execute(select(t.blocked))]


async def test_a_call_that_ends_while_the_picker_turns_a_delivery_finds_it_waiting(postgres: Store) -> None:
    async with postgres.writer.begin() as picker:
        await block_chains(picker, [], behind=[Behind(2, CHAIN)])
        ending = asyncio.create_task(postgres.write(_end_call))
        await until_one_waits(postgres)

    await ending

    assert await _state(postgres) == ("waiting", ["backoff"])


async def test_the_picker_leaves_a_delivery_ready_whose_chain_was_released_meanwhile(postgres: Store) -> None:
    async def turn(conn: AsyncConnection) -> None:
        await block_chains(conn, [], behind=[Behind(2, CHAIN)])

    async with postgres.writer.begin() as caller:
        await _end_call(caller)
        turning = asyncio.create_task(postgres.write(turn))
        await until_one_waits(postgres)

    await turning

    assert await _state(postgres) == ("ready", [])
