"""The databases of the tests: one that was used and given back equals the template again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from unittest.mock import AsyncMock

import pytest

from tests.support.copies import Copies, Snapshot, drop
from tests.support.databases import Databases
from tests.support.servers import administer, connect_to, sweep


@pytest.fixture
async def copies(databases: Databases) -> AsyncIterator[Copies]:
    address = await databases.fresh("postgresql")
    made = Copies(address.rpartition("/")[2])
    yield made
    await made.close()
    await databases.drop(address)


async def execute(name: str, statement: str) -> None:
    connection = await connect_to(name)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def contents(name: str) -> dict[str, list[str]]:
    """Every row of every table, and where each sequence stands."""
    connection = await connect_to(name)
    try:
        tables = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'S') AND relnamespace = 2200"
        )
        return {
            row[0]: sorted(str(dict(one)) for one in await connection.fetch(f'SELECT * FROM "{row[0]}"'))
            for row in tables
        }
    finally:
        await connection.close()


async def test_no_copy_is_made_while_the_template_is_read(copies: Copies, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server makes no copy of a database that somebody is connected to."""
    turns: list[str] = []

    async def make(*_: object, **__: object) -> None:
        turns.append("make")
        await asyncio.sleep(0)
        turns.append("made")

    async def read(_name: str) -> Snapshot:
        turns.append("read")
        await asyncio.sleep(0)
        turns.append("closed")
        return Snapshot("", {}, {})

    monkeypatch.setattr("tests.support.copies.make_database", make)
    monkeypatch.setattr("tests.support.copies._snapshot", read)
    monkeypatch.setattr("tests.support.copies._restore", AsyncMock(return_value=True))

    await asyncio.gather(copies.give_back(await copies.take()), copies.take())

    assert turns == ["make", "made", "read", "closed", "make", "made"]


async def test_rows_go_and_come_back(copies: Copies) -> None:
    before = await contents(copies.template)
    name = await copies.take()
    await execute(name, "DELETE FROM lanes WHERE lane < 9; INSERT INTO routes (name, id) VALUES ('x', 999)")
    await execute(name, "SELECT nextval(oid::regclass) FROM pg_class WHERE relkind = 'S' AND relnamespace = 2200")
    assert await contents(name) != before

    await copies.give_back(name)

    assert await copies.take() == name
    assert await contents(name) == before
    await drop(name)


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE inbox ADD COLUMN more text",
        "ALTER TABLE moves DISABLE TRIGGER ALL",
        "CREATE TABLE more (id int)",
        "DROP VIEW postings CASCADE",
        "ANALYZE lanes",
    ],
)
async def test_a_copy_in_which_more_was_changed_is_dropped(copies: Copies, change: str) -> None:
    name = await copies.take()
    await execute(name, change)

    await copies.give_back(name)

    assert await copies.take() != name


async def test_who_is_still_connected_is_cut_off_and_the_copy_dropped(copies: Copies) -> None:
    name = await copies.take()
    left = await connect_to(name)
    await left.execute("BEGIN; LOCK TABLE inbox")

    await copies.give_back(name)

    assert await copies.take() != name
    assert left.is_closed()


async def test_what_a_failed_test_had_is_given_to_nobody_else(databases: Databases) -> None:
    kept, given_back = [await databases.fresh("postgresql") for _ in range(2)]
    databases.a_test_begins()
    await databases.drop(given_back)

    databases.a_test_has_failed()
    await databases.drop(kept)

    later = [await databases.fresh("postgresql") for _ in range(2)]
    assert not {kept, given_back} & set(later)
    assert not await exists(kept)
    for address in later:
        await databases.drop(address)


async def exists(address: str) -> bool:
    connection = await connect_to("")
    try:
        name = address.rpartition("/")[2]
        return bool(await connection.fetchval("SELECT count(*) FROM pg_database WHERE datname = $1", name))
    finally:
        await connection.close()


async def test_what_a_killed_process_has_left_is_swept_away_after_a_day(databases: Databases) -> None:
    young = (await databases.empty("postgresql")).rpartition("/")[2]
    old = young.replace(young.split("_")[2], "00000001")
    await administer(f"CREATE DATABASE {old}")
    connection = await connect_to("")
    try:
        await sweep()

        left = {row[0] for row in await connection.fetch("SELECT datname FROM pg_database")}
        assert (old in left, young in left) == (False, True)
    finally:
        await connection.close()
        await drop(young)
