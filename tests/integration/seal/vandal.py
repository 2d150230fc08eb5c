"""Changes stored rows as nobody may: past the hub, with the database's own rules switched off."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Table, text
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.seal.kinds import KINDS, Kind
from hub.seal.tables import blocks, members
from hub.store.store import Store

NEW_VALUES = {
    "int": "12345678",
    "bool": "TRUE",
    "text": "'changed'",
    "time": "'2001-02-03T04:05:06.000007Z'",
    "uuid": "'0123456789abcdef0123456789abcdef'",
    "bytes": r"'\x00'",
    "json": "'{\"changed\": 1}'",
}
"""What stands on PostgreSQL where nothing stood."""
CHANGES = {
    "int": '"{}" + 9000000',
    "bool": 'NOT "{}"',
    "text": 'overlay("{}" placing chr(ascii("{}") # 1) from 1 for 1)',
    "time": "\"{}\" + interval '1 microsecond'",
    "uuid": "overlay(\"{}\"::text placing translate(left(\"{}\"::text, 1), '0123456789abcdef', '1032547698badcfe')"
    " from 1 for 1)::uuid",
    "bytes": 'set_byte("{}", 0, get_byte("{}", 0) # 1)',
    "json": "'{{\"changed\": 1}}'",
}


async def free(store: Store) -> None:
    """Take the rules of the tables away, for good."""

    async def work(conn: AsyncConnection) -> None:
        tables = [*(kind.table.name for kind in KINDS.values()), blocks.name, members.name]
        if conn.dialect.name == "sqlite":
            for name in (await conn.scalars(text("SELECT name FROM sqlite_master WHERE type = 'trigger'"))).all():
                await conn.execute(text(f'DROP TRIGGER "{name}"'))
            return
        for table in tables:
            await conn.execute(text(f'ALTER TABLE "{table}" DISABLE TRIGGER ALL'))
        found = await conn.scalars(
            text(
                "SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname) FROM pg_constraint"
                " WHERE contype = 'c' AND conrelid = ANY (CAST(:tables AS regclass[]))"
            ),
            {"tables": tables},
        )
        for statement in found.all():
            await conn.execute(text(statement))

    await store.write(work)


async def deface(store: Store, table: Table, column: str, of_type: str, where: str, chance: random.Random) -> None:
    """Change one value a little: one bit of one byte on SQLite."""
    if store.dialect == "sqlite":
        with _file_of(store) as file:
            _deface_sqlite(file, table, column, where, chance)
        return

    async def work(conn: AsyncConnection) -> None:
        change = CHANGES[of_type].format(column, column)
        small = "smallint" in str(table.c[column].type).lower()
        if small or (of_type == "int" and "integer" in str(table.c[column].type).lower()):
            change = f'"{column}" + 7'
        new = NEW_VALUES[of_type] if of_type != "int" or not small else "77"
        one, other = _cast(new, table, column), _cast(change, table, column)
        becomes = f'CASE WHEN "{column}" IS NULL THEN {one} ELSE {other} END'
        statement = f'UPDATE "{table.name}" SET "{column}" = {becomes} WHERE {where}'
        changed = await conn.exec_driver_sql(statement)
        assert changed.rowcount == 1, statement

    await store.write(work)


def _cast(value: str, table: Table, column: str) -> str:
    from sqlalchemy.dialects import postgresql  # noqa: PLC0415

    kind = table.c[column].type.compile(dialect=postgresql.dialect())  # type: ignore[no-untyped-call]
    kind = "text" if kind.startswith("VARCHAR") else kind
    return f"CAST({value} AS {kind})"


def _deface_sqlite(file: sqlite3.Connection, table: Table, column: str, where: str, chance: random.Random) -> None:
    number = f'CASE typeof("{column}") WHEN \'integer\' THEN "{column}" END'
    select = f'SELECT typeof("{column}"), CAST("{column}" AS BLOB), {number} FROM "{table.name}" WHERE {where}'
    [(storage, content, value)] = file.execute(select).fetchall()
    new: Any
    if storage == "null":
        new, cast = 1, "?"
    elif storage == "integer":
        # Higher than the numbers of any row, or the new one could be another row's.
        new, cast = value ^ (1 << chance.randrange(40, 50)), "?"
    elif not content:
        new, cast = b"x", "CAST(? AS TEXT)" if storage == "text" else "?"
    else:
        place = chance.randrange(len(content))
        changed = content[place] ^ (1 << chance.randrange(8))
        new = content[:place] + bytes([changed]) + content[place + 1 :]
        cast = "CAST(? AS TEXT)" if storage == "text" else "?"
    update = f'UPDATE "{table.name}" SET "{column}" = {cast} WHERE {where}'
    assert file.execute(update, (new,)).rowcount == 1


@contextmanager
def _file_of(store: Store) -> Iterator[sqlite3.Connection]:
    """The database by a connection that minds no foreign keys and no checks."""
    path = store.writer.url.database
    assert path is not None
    file = sqlite3.connect(path, timeout=10)
    try:
        file.execute("PRAGMA ignore_check_constraints = ON")
        yield file
        file.commit()
    finally:
        file.close()


async def delete_row(store: Store, table: Table, where: str) -> None:
    if store.dialect == "sqlite":
        with _file_of(store) as file:
            assert file.execute(f'DELETE FROM "{table.name}" WHERE {where}').rowcount == 1
        return

    async def work(conn: AsyncConnection) -> None:
        assert (await conn.exec_driver_sql(f'DELETE FROM "{table.name}" WHERE {where}')).rowcount == 1

    await store.write(work)


async def keys_of(store: Store, kind: Kind) -> list[tuple[int, str, str]]:
    """Every row of a kind: id, key, and the condition that finds it."""
    names = [kind.id, *kind.key]
    columns = ", ".join(f'"{name}"' for name in names)
    async with store.reading() as conn:
        rows = (await conn.exec_driver_sql(f'SELECT {columns} FROM "{kind.table.name}" ORDER BY {columns}')).all()
    found = []
    for row in rows:
        conditions = [f'"{name}" = {value!r}' for name, value in zip(names, row, strict=True)]
        found.append((row[0], "#".join(map(str, row[1:])), " AND ".join(conditions)))
    return found
