"""A transaction that begins with its first statement is one like any other."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from sqlalchemy import insert, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.store import tables as t
from hub.store.opening import begin_with
from hub.store.store import Fence, FencedError, Store
from tests.integration.deliver.test_growth import statements
from tests.support.locks import until_one_waits

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

ROW = "INSERT INTO sequences (name, value) VALUES ('begun', 1)"


async def _names(store: Store) -> list[str]:
    async with store.reading() as conn:
        return list(await conn.scalars(text("SELECT name FROM sequences")))


async def test_what_it_does_is_committed_or_undone_with_the_rest(store: Store) -> None:
    async def fails(conn: AsyncConnection) -> None:
        assert await begin_with(conn, ROW, known_as=ROW) == 1
        raise KeyError

    with pytest.raises(KeyError):
        await store.write(fails)
    assert await _names(store) == []

    await store.write(lambda conn: begin_with(conn, ROW, known_as=ROW))
    assert await _names(store) == ["begun"]


async def test_a_connection_is_good_for_others_after_one_that_was_refused(store: Store) -> None:
    await store.write(lambda conn: begin_with(conn, ROW, known_as=ROW))

    for _ in range(12):
        with pytest.raises(DBAPIError) as refused:
            await store.write(lambda conn: begin_with(conn, ROW, known_as="told"))
        assert refused.value.statement == "told"

    assert await _names(store) == ["begun"]


async def test_it_may_come_second(store: Store) -> None:
    async def work(conn: AsyncConnection) -> int:
        await conn.execute(text("INSERT INTO sequences (name, value) VALUES ('first', 1)"))
        return await begin_with(conn, ROW, known_as=ROW)

    assert await store.write(work) == 1
    assert sorted(await _names(store)) == ["begun", "first"]


async def test_a_cancelled_one_gives_its_lock_up(store: Store) -> None:
    lock = "SELECT pg_advisory_xact_lock(4711)"

    async def keep(conn: AsyncConnection) -> None:
        await begin_with(conn, lock, known_as=lock)
        waiting = asyncio.create_task(store.write(lambda other: begin_with(other, lock, known_as=lock)))
        await until_one_waits(store)
        waiting.cancel()
        await asyncio.wait({waiting})

    await store.write(keep)

    assert await store.write(lambda conn: begin_with(conn, lock, known_as=lock)) == 1


async def test_a_fence_is_held_in_turn_and_named_without_its_numbers(store: Store) -> None:
    fence, over = Fence(uuid4(), 3).in_turn(99), Fence(uuid4(), 3)
    row = {"id": fence.worker_id, "epoch": 3, "host": "here", "pid": 1, "instance": "here", "state": "running"}
    row |= {"delivers": True, "relays": True, "started_at": text("now()")}

    async def locked(conn: AsyncConnection) -> set[tuple[str, int]]:
        query = "SELECT locktype, objid FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
        return {(kind, int(number)) for kind, number in await conn.execute(text(query))}

    await store.write(lambda conn: conn.execute(insert(t.workers).values(row)))
    with statements(store) as run:
        assert await store.write(locked, fence=fence) == {("advisory", 99)}
    assert str(fence.worker_id) not in run[0][0]
    with pytest.raises(FencedError):
        await store.write(locked, fence=over)
