"""Statements past SQLAlchemy's compiler: its transactions, listeners and errors all the same."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.errors import StoreUnavailableError
from hub.store import direct
from hub.store.direct import Direct
from hub.store.sequences import Wanted, draw, draw_each
from hub.store.store import Store

ADD = Direct(
    postgresql="INSERT INTO sequences (name, value) SELECT name, $2 FROM unnest($1::text[]) AS new (name)",
    sqlite="INSERT INTO sequences (name, value) VALUES (?, ?)",
)
READ = Direct(
    postgresql="SELECT name, value FROM sequences WHERE name = $1",
    sqlite="SELECT name, value FROM sequences WHERE name = ?",
)
RAISE = Direct(
    postgresql="UPDATE sequences SET value = value + $1 WHERE name LIKE 'direct%'",
    sqlite="UPDATE sequences SET value = value + ? WHERE name LIKE 'direct%'",
)
SLEEP = Direct(postgresql="SELECT pg_sleep(60)", sqlite="")


def named(store: Store, name: str) -> Any:
    return [name] if store.dialect == "postgresql" else name


async def test_it_is_part_of_the_transaction(store: Store) -> None:
    async def fails(conn: AsyncConnection) -> None:
        await ADD.run(conn, named(store, "direct-1"), 7)
        assert [tuple(row) for row in await READ.rows(conn, "direct-1")] == [("direct-1", 7)]
        raise KeyError

    with pytest.raises(KeyError):
        await store.write(fails)

    async with store.reading() as conn:
        assert not await READ.rows(conn, "direct-1")


async def test_it_says_how_many_rows_it_has_changed(store: Store) -> None:
    async def work(conn: AsyncConnection) -> tuple[int, int]:
        await ADD.run(conn, named(store, "direct-2"), 1)
        await ADD.run(conn, named(store, "direct-3"), 1)
        return await RAISE.run(conn, 5), len(await READ.rows(conn, "direct-nowhere"))

    assert await store.write(work) == (2, 0)


async def test_what_goes_wrong_is_sqlalchemys_error_and_quotes_no_value(store: Store) -> None:
    async def work(conn: AsyncConnection) -> None:
        await ADD.run(conn, named(store, "direct-secret"), 1)
        await ADD.run(conn, named(store, "direct-secret"), 1)

    with pytest.raises(IntegrityError) as raised:
        await store.write(work)

    assert "INSERT INTO sequences" in str(raised.value)
    assert "direct-secret" not in str(raised.value).partition("DETAIL")[0]
    assert not raised.value.connection_invalidated


async def test_who_listens_hears_of_it(store: Store) -> None:
    heard: list[str] = []
    engine = store.writer.sync_engine

    def listen(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        heard.append(statement)

    event.listen(engine, "before_cursor_execute", listen)
    try:
        await store.write(lambda conn: READ.rows(conn, "direct"))
    finally:
        event.remove(engine, "before_cursor_execute", listen)

    assert any(one.startswith("SELECT name, value FROM sequences") for one in heard)


async def test_one_for_many_rows_is_heard_of_counted_and_refused_like_any_other(store: Store) -> None:
    if store.dialect != "sqlite":
        pytest.skip("there rows are arrays of one statement")
    add = "INSERT INTO sequences (name, value) VALUES (?, ?)"
    heard: list[tuple[str, bool]] = []

    def listen(_conn: Any, _cursor: Any, statement: str, _values: Any, _context: Any, is_many: bool) -> None:
        heard.append((statement, is_many))

    event.listen(store.writer.sync_engine, "before_cursor_execute", listen)
    count = await store.write(lambda conn: direct.run_many_on_sqlite(conn, add, [("many 1", 1), ("many 2", 2)]))
    with pytest.raises(IntegrityError) as refused:
        await store.write(lambda conn: direct.run_many_on_sqlite(conn, add, [("many 3", 3), ("many 1", 4)]))

    assert count == 2
    assert heard == [(add, True)] * 2
    assert "many 3" not in str(refused.value)
    async with store.reading() as conn:
        assert set(await conn.scalars(text("SELECT name FROM sequences WHERE name LIKE 'many%'"))) == {
            "many 1",
            "many 2",
        }


async def test_who_is_cut_off_in_the_middle_leaves_no_connection_behind(store: Store) -> None:
    if store.dialect == "sqlite":
        pytest.skip("nothing of SQLite's sleeps")
    begun = asyncio.Event()
    pids: list[int] = []

    async def work(conn: AsyncConnection) -> None:
        pids.append(await conn.scalar(text("SELECT pg_backend_pid()")))
        begun.set()
        await SLEEP.rows(conn)

    task = asyncio.create_task(store.write(work))
    await begun.wait()
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    async with store.reading() as conn, asyncio.timeout(5):
        gone = text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid AND state = 'active'")
        assert await conn.scalar(gone, {"pid": pids[0]}) == 0


async def test_a_connection_that_is_lost_is_said_to_be(store: Store) -> None:
    if store.dialect == "sqlite":
        pytest.skip("nobody ends a connection of SQLite")

    async def work(conn: AsyncConnection) -> None:
        pid = await conn.scalar(text("SELECT pg_backend_pid()"))
        async with store.reader.connect() as other:
            await other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        await READ.rows(conn, "direct")

    with pytest.raises(StoreUnavailableError):
        await store.write(work)
    assert await store.write(lambda conn: draw(conn, "outbox_seq", 1))


async def test_numbers_of_several_sequences_are_drawn_together(store: Store) -> None:
    async def work(conn: AsyncConnection) -> list[list[int]]:
        return await draw_each(conn, Wanted("outbox_seq", 2), Wanted("inbox_seq", 0), Wanted("ledger_entries_seq", 3))

    (first, none, others), (later, _, _) = await store.write(work), await store.write(work)

    assert (len(first), none, len(others)) == (2, [], 3)
    assert first == sorted(first)
    assert later[0] > first[-1]


@pytest.mark.parametrize("error", [TimeoutError("too slow"), ConnectionResetError("gone")])
async def test_what_is_not_the_drivers_own_is_raised_as_it_is(
    store: Store, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    if store.dialect == "sqlite":
        pytest.skip("nothing lies between the hub and SQLite")

    async def fails(*_: object) -> Any:
        raise error

    await store.write(lambda conn: READ.rows(conn, "direct"))
    monkeypatch.setattr(direct, "_prepared", fails)

    with pytest.raises(StoreUnavailableError) as raised:
        await store.write(lambda conn: READ.rows(conn, "direct"))
    assert raised.value.__cause__ is error
