"""Copies of one PostgreSQL database: made once, then put back into the state of the first for the next test.

Making and dropping a database costs far more than most tests do in it. A copy in which anything but rows was changed is
dropped all the same, and so is one that somebody does not let go of: it may be a hub that a test has left behind, and
would write into the next test's.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from io import BytesIO

import asyncpg

from tests.support.servers import administer, connect_to, make_database, new_name

STATEMENT_S_MAX = 120.0
LEAVING_S_MAX = 0.5
"""How long the server may take to end a session that its client has closed."""
LOOK_S = 0.005

SMALL_BYTES_MAX = 65_536
"""A larger table is truncated. To delete its rows would leave their room, which the planner goes by; to truncate a
small one costs a hundred times as much, for the server makes new files for it and each index."""
_TABLES = """
    SELECT quote_ident(relname), pg_relation_size(oid) FROM pg_class
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY relname
"""
_SEQUENCES = """
    SELECT quote_ident(sequencename), coalesce(last_value, start_value), last_value IS NOT NULL
    FROM pg_sequences WHERE schemaname = 'public' ORDER BY 1
"""
_FORM = """
    SELECT md5(string_agg(line, chr(10) ORDER BY line)) FROM (
        SELECT concat_ws(' ', 'column', c.relname, a.attname, a.atttypid, a.attnotnull, a.attisdropped) AS line
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        WHERE c.relnamespace = 'public'::regnamespace AND a.attnum > 0
        UNION ALL SELECT concat_ws(' ', 'table', relname, relkind, relpersistence, reloptions::text) FROM pg_class
        WHERE relnamespace = 'public'::regnamespace
        UNION ALL SELECT concat_ws(' ', 'constraint', conname, convalidated, pg_get_constraintdef(oid))
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace
        UNION ALL SELECT concat_ws(' ', 'trigger', tgname, tgenabled, tgrelid::regclass) FROM pg_trigger
        WHERE NOT tgisinternal
        UNION ALL SELECT concat_ws(' ', 'function', proname, md5(prosrc), proconfig::text) FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace
        UNION ALL SELECT concat_ws(' ', 'view', viewname, md5(definition)) FROM pg_views WHERE schemaname = 'public'
        UNION ALL SELECT concat_ws(' ', 'setting', setrole, setconfig::text) FROM pg_db_role_setting
        WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
        UNION ALL SELECT concat_ws(' ', 'statistics', starelid::regclass) FROM pg_statistic
        WHERE starelid >= 16384
    ) AS lines
"""
"""Everything about a database but its rows, and what the planner knows of them."""
_OTHERS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a copy is put back to: its form, the rows of the tables that have any, and where its sequences stand."""

    form: str
    rows: dict[str, bytes]
    sequences: dict[str, tuple[int, bool]]


class Copies:
    """Databases that equal ``template``, which nobody may change any more."""

    def __init__(self, template: str) -> None:
        self.template = template
        self._snapshot: Snapshot | None = None
        self._free: list[str] = []
        self._distrusted: list[str] = []
        # A database is no template while somebody reads in it.
        self._turn = asyncio.Lock()

    async def take(self) -> str:
        """The name of a database that equals the template and is the caller's alone."""
        if self._free:
            return self._free.pop()
        name = new_name()
        async with self._turn:
            await make_database(name, template=self.template)
        return name

    async def give_back(self, name: str) -> None:
        """The caller needs it no more."""
        async with self._turn:
            self._snapshot = self._snapshot or await _snapshot(self.template)
        if await _restore(name, self._snapshot):
            self._free.append(name)
        else:
            await drop(name)

    def distrust(self, name: str) -> None:
        """One that was given back is nobody's any more."""
        if name in self._free:
            self._free.remove(name)
            self._distrusted.append(name)

    async def close(self) -> None:
        """Drop the copies that nobody has in hand. The template is its maker's to drop."""
        for left in (self._free, self._distrusted):
            while left:
                await drop(left.pop())


async def drop(name: str) -> None:
    """Remove a database, whoever is connected to it."""
    await administer(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


async def _snapshot(name: str) -> Snapshot:
    connection = await connect_to(name)
    try:
        rows = {table: await _rows(connection, table) for table, size in await connection.fetch(_TABLES) if size}
        return Snapshot(await connection.fetchval(_FORM), rows, await _sequences(connection))
    finally:
        await connection.close()


async def _restore(name: str, snapshot: Snapshot) -> bool:
    """Put a copy back into the template's state; False when it cannot be."""
    try:
        connection = await connect_to(name, command_timeout=STATEMENT_S_MAX)
    except (asyncpg.PostgresError, OSError, TimeoutError):
        return False
    try:
        if not await _all_have_left(connection) or await connection.fetchval(_FORM) != snapshot.form:
            return False
        async with connection.transaction():
            await _refill(connection, snapshot)
        return True
    except (asyncpg.PostgresError, TimeoutError):
        # Such as a role that may make databases but not leave triggers out.
        return False
    finally:
        await connection.close()


async def _all_have_left(connection: asyncpg.Connection) -> bool:
    end = asyncio.get_running_loop().time() + LEAVING_S_MAX
    while await connection.fetchval(_OTHERS):
        if asyncio.get_running_loop().time() > end:
            return False
        await asyncio.sleep(LOOK_S)
    return True


async def _refill(connection: asyncpg.Connection, snapshot: Snapshot) -> None:
    # Without the triggers, which refuse that a ledger is emptied.
    await connection.execute("SET LOCAL session_replication_role = replica")
    used = {table: size for table, size in await connection.fetch(_TABLES) if size}
    changed = [
        table for table in used if table not in snapshot.rows or await _rows(connection, table) != snapshot.rows[table]
    ]
    if large := [table for table in changed if used[table] > SMALL_BYTES_MAX]:
        await connection.execute(f"TRUNCATE {', '.join(large)} CASCADE")
        changed = list(used)
    if small := [table for table in changed if table not in large]:
        await connection.execute("".join(f"DELETE FROM {table};" for table in small))
    for table in changed:
        if table in snapshot.rows:
            source = BytesIO(snapshot.rows[table])
            await connection.copy_to_table(table.strip('"'), source=source, format="binary")
    now = await _sequences(connection)
    for sequence, (last, is_called) in snapshot.sequences.items():
        if now.get(sequence) != (last, is_called):
            await connection.execute(f"SELECT setval('{sequence}', {last}, {is_called})")


async def _rows(connection: asyncpg.Connection, table: str) -> bytes:
    output = BytesIO()
    await connection.copy_from_query(f"SELECT * FROM {table}", output=output, format="binary")
    return output.getvalue()


async def _sequences(connection: asyncpg.Connection) -> dict[str, tuple[int, bool]]:
    return {name: (last, is_called) for name, last, is_called in await connection.fetch(_SEQUENCES)}
