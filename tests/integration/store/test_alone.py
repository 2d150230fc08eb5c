"""A statement that is a transaction by itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.errors import StoreUnavailableError
from hub.store.alone import read_alone, rows_at_once, write_alone
from hub.store.direct import Direct
from hub.store.store import Store

ADD = Direct(
    postgresql="INSERT INTO sequences (name, value) VALUES ($1, $2) RETURNING value",
    sqlite="INSERT INTO sequences (name, value) VALUES (?, ?) RETURNING value",
)
READ = Direct(
    postgresql="SELECT value FROM sequences WHERE name = $1", sqlite="SELECT value FROM sequences WHERE name = ?"
)
END_US = Direct(postgresql="SELECT pg_terminate_backend(pg_backend_pid())", sqlite="")
SLEEP = Direct(postgresql="SELECT pg_sleep(60)", sqlite="")
CHANGED = Direct(postgresql="SELECT value FROM changed", sqlite="")


async def test_it_is_committed_when_it_answers(store: Store) -> None:
    heard: list[str] = []

    def note(_conn: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        heard.append(statement)

    event.listen(store.writer.sync_engine, "before_cursor_execute", note)

    assert [tuple(row) for row in await write_alone(store, ADD, "alone-1", 7)] == [(7,)]

    assert [tuple(row) for row in await read_alone(store, READ, "alone-1")] == [(7,)]
    assert any(one.startswith("INSERT INTO sequences") for one in heard)


async def test_what_goes_wrong_is_sqlalchemys_error_and_leaves_nothing(store: Store) -> None:
    await write_alone(store, ADD, "alone-2", 1)

    with pytest.raises(IntegrityError) as caught:
        await write_alone(store, ADD, "alone-2", 2)

    assert "alone-2" not in str(caught.value).partition("\n")[0]
    assert [tuple(row) for row in await read_alone(store, READ, "alone-2")] == [(1,)]


async def test_a_lost_connection_is_no_fault_of_the_statement(store: Store) -> None:
    if store.dialect == "sqlite":
        pytest.skip("what PostgreSQL alone does")
    with pytest.raises(StoreUnavailableError):
        await read_alone(store, END_US)

    assert await read_alone(store, READ, "alone-3") == []


async def test_one_that_is_cancelled_leaves_no_connection_in_the_middle(store: Store) -> None:
    if store.dialect == "sqlite":
        pytest.skip("what PostgreSQL alone does")
    waiting = asyncio.create_task(read_alone(store, SLEEP))
    await asyncio.sleep(0.1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert await read_alone(store, READ, "alone-4") == []


async def test_a_pooler_gets_a_transaction_around_it(store: Store) -> None:
    if store.dialect == "sqlite":
        pytest.skip("what PostgreSQL alone does")
    url = store.writer.url.render_as_string(hide_password=False)
    pooled = Store.open(url, is_pooled=True)
    begun: list[object] = []
    event.listen(pooled.writer.sync_engine, "begin", begun.append)
    try:
        await write_alone(pooled, ADD, "alone-5", 5)
        assert [tuple(row) for row in await read_alone(pooled, READ, "alone-5")] == [(5,)]
    finally:
        await pooled.close()
    assert len(begun) == 2


@pytest.mark.parametrize("has_begun", [True, False])
async def test_it_belongs_to_a_transaction_that_has_begun(store: Store, has_begun: bool) -> None:
    if store.dialect == "sqlite":
        pytest.skip("what PostgreSQL alone does")
    name = f"alone-6-{has_begun}"

    async def work(conn: AsyncConnection) -> None:
        if has_begun:
            await READ.rows(conn, name)
        assert [tuple(row) for row in await rows_at_once(conn, ADD, name, 6)] == [(6,)]

    await store.rehearse(work)

    assert len(await read_alone(store, READ, name)) == (0 if has_begun else 1)


@pytest.mark.parametrize("is_alone", [True, False])
async def test_a_statement_is_prepared_again_once_the_schema_was_found_changed(store: Store, is_alone: bool) -> None:
    if store.dialect == "sqlite":
        pytest.skip("what PostgreSQL alone does")

    async def read() -> list[tuple[Any, ...]]:
        rows = await (read_alone(store, CHANGED) if is_alone else store.write(CHANGED.rows))
        return [tuple(row) for row in rows]

    async def change(statement: str) -> None:
        async def work(conn: AsyncConnection) -> None:
            await conn.execute(text(statement))

        # Somebody else's pool: this one hears nothing of it.
        other = Store.open(store.writer.url.render_as_string(hide_password=False))
        await other.write(work)
        await other.close()

    await change("CREATE TABLE changed AS SELECT 7 AS value")
    try:
        assert await read() == [(7,)]
        await change("ALTER TABLE changed ALTER value TYPE text")
        with pytest.raises(DBAPIError, match="cached statement plan is invalid"):
            await read()

        assert await read() == [("7",)]
    finally:
        await change("DROP TABLE changed")
