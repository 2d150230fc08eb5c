"""From SQLite to PostgreSQL: every row of every table in one transaction, which is committed once all is proven equal.

The source is locked against every writer from the beginning to the end and is not changed. The target must have no
rows; its tables are made first. Whatever fails, the target has nothing in it, and the move can begin anew.

What is proven before the commit: per table as many rows, and the same hash over what they mean; the books; and that
``hub check`` says of both the same.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import structlog
from sqlalchemy import MetaData, Table, exists, func, insert, inspect, select, text
from sqlalchemy import Sequence as NamedSequence
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

import hub.flow.tables
import hub.ledger.ddl
import hub.seal.tables
import hub.store.tables
import hub.store.tables_archive
import hub.transports.tables
from hub.capability import Capability
from hub.errors import StoreUnavailableError, UsageError
from hub.ledger.tables import SLOTS_POSTGRESQL, SLOTS_SQLITE, accounts, balances
from hub.move.rows import Digest, meaning_of, read_rows, refuse_nul
from hub.operate.equation import EquationReport, check_in
from hub.store.engines import CONNECT_TIMEOUT_S
from hub.store.metadata import metadata
from hub.store.schema import ahead, pending, upgrade
from hub.store.sequences import sequences
from hub.store.store import Store, unavailable
from hub.store.tables_sending import local_messages
from hub.store.words import words_of

assert hub.ledger.ddl, (
    hub.flow.tables,
    hub.seal.tables,
    hub.store.tables,
    hub.store.tables_archive,
    hub.transports.tables,
)  # they define tables

LOCK_S_MAX: Final = 10

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class MovedTable:
    """A table that is the same on both sides."""

    name: str
    rows: int
    sha256: str


@dataclass(frozen=True, slots=True)
class MoveReport:
    """What was moved, and what ``hub check`` says of it. ``queued`` messages wait in the embedded queues."""

    tables: tuple[MovedTable, ...]
    report: EquationReport
    queued: int

    @property
    def rows(self) -> int:
        return sum(one.rows for one in self.tables)


async def move(
    source: Store,
    target_url: str,
    capabilities: Iterable[Capability],
    *,
    said: Callable[[str], None] = lambda _: None,
) -> MoveReport:
    """Carry everything over. The caller has made sure that no daemon works on the source.

    Raises UsageError where that cannot be (the target is not empty, the source lacks migrations, a value that
    PostgreSQL cannot hold, a difference), StoreUnavailableError. Nothing is committed then.
    """
    members = tuple(capabilities)
    if source.dialect != "sqlite":
        raise UsageError("expected a database on SQLite to move from, found one on PostgreSQL")
    missing = await pending(source, members)
    if missing:
        raise UsageError(f"the database lacks {', '.join(missing)}: run `hub db upgrade` first")
    if newer := await ahead(source, members):
        # It may be worked on; but what this program does not know, it would leave behind.
        raise UsageError(f"the database is newer than this program ({', '.join(newer)}): move it with the newer one")
    seeded = await _seeded(members)
    await _make_tables(target_url, members)
    # BEGIN IMMEDIATE: readers go on, nobody writes.
    async with source.writer.connect() as old:
        try:
            await old.begin()
            return await _move(old, target_url, _all_tables(members), seeded, said)
        except DBAPIError as error:
            raise unavailable(error) or UsageError(
                f"the move failed, nothing was changed: {words_of(error)}"
            ) from error
        finally:
            await old.rollback()


def _all_tables(members: Sequence[Capability]) -> list[MetaData]:
    return [metadata, *(one.tables for one in members if one.tables is not None)]


async def _seeded(members: Sequence[Capability]) -> Mapping[str, Digest]:
    """What the migrations themselves put into tables: all that may be in a database that nobody has used."""
    with tempfile.TemporaryDirectory(prefix="hub-move-") as folder:
        scratch = Store.open(f"sqlite+aiosqlite:///{folder}/scratch.db")
        try:
            await upgrade(scratch, members)
            async with scratch.reading() as conn:
                return await _digests(conn, _tables_of(_all_tables(members)))
        finally:
            await scratch.close()


def _tables_of(all_tables: Sequence[MetaData]) -> list[Table]:
    return [table for one in all_tables for table in one.sorted_tables if table is not sequences]


async def _digests(conn: AsyncConnection, tables: Sequence[Table]) -> Mapping[str, Digest]:
    """Of the tables that have rows."""
    found: dict[str, Digest] = {}
    for table in tables:
        async for row in read_rows(conn, table):
            found.setdefault(table.name, Digest()).add(meaning_of(table, row))
    return found


async def _make_tables(target_url: str, members: Sequence[Capability]) -> None:
    target = Store.open(target_url, pool_size=1)
    try:
        if target.dialect != "postgresql":
            raise UsageError("expected a database on PostgreSQL to move to")
        await upgrade(target, members)
    finally:
        await target.close()


async def _move(
    old: AsyncConnection,
    target_url: str,
    all_tables: Sequence[MetaData],
    seeded: Mapping[str, Digest],
    said: Callable[[str], None],
) -> MoveReport:
    tables = _tables_of(all_tables)
    await _refuse_unknown(old, tables)
    async with _target(target_url) as new:
        await _lock(new, tables)
        await _set_triggers(new, tables, "DISABLE")
        await _empty(new, tables, seeded)
        moved = []
        for table in tables:
            moved.append(await _copy(old, new, table))
            said(f"{table.name}: {moved[-1].rows} rows")
        await _add_slots(new)
        await _set_triggers(new, tables, "ENABLE")
        await _set_sequences(old, new, all_tables)
        await new.execute(text("ANALYZE"))
        report = await _compare(old, new)
        queued = await new.scalar(select(func.count()).select_from(local_messages))
    log.info("database_moved", tables=len(moved), rows=sum(one.rows for one in moved))
    return MoveReport(tuple(moved), report, queued or 0)


@asynccontextmanager
async def _target(url: str) -> AsyncIterator[AsyncConnection]:
    """One transaction on the target, without the store's bounds on a statement's time; committed at the end."""
    engine = create_async_engine(
        url,
        poolclass=NullPool,
        hide_parameters=True,
        isolation_level="REPEATABLE READ",
        connect_args={
            "timeout": CONNECT_TIMEOUT_S,
            "server_settings": {"application_name": "hub move", "timezone": "UTC"},
        },
    )
    try:
        async with engine.begin() as conn:
            await conn.execute(text(f"SET LOCAL lock_timeout = '{LOCK_S_MAX}s'"))
            yield conn
    except OSError as error:
        raise StoreUnavailableError(f"the database did not answer: {error}", delay_s=1.0) from error
    finally:
        await engine.dispose()


async def _refuse_unknown(old: AsyncConnection, tables: Sequence[Table]) -> None:
    """What nobody knows would be left behind."""
    known = {table.name for table in tables} | {sequences.name}
    found = await old.run_sync(lambda conn: inspect(conn).get_table_names())
    strange = [name for name in found if name not in known and not name.startswith("alembic_version")]
    if strange:
        raise UsageError(
            f"the database has tables that no capability of routing.yaml knows: {', '.join(sorted(strange))};"
            " name their capability there, so that they are moved too, or drop them"
        )


async def _lock(new: AsyncConnection, tables: Sequence[Table]) -> None:
    # Before the first look, which is what this transaction then sees to its end.
    names = ", ".join(f'"{table.name}"' for table in tables)
    await new.execute(text(f"LOCK TABLE {names} IN EXCLUSIVE MODE"))


async def _empty(new: AsyncConnection, tables: Sequence[Table], seeded: Mapping[str, Digest]) -> None:
    """Raise UsageError where anybody has used this database; else take out what its migrations have put in."""
    full = []
    for table in tables:
        if not await new.scalar(select(exists(select(1).select_from(table)))):
            continue
        if table.name not in seeded or (await _digests(new, [table]))[table.name] != seeded[table.name]:
            full.append(table.name)
    if full:
        raise UsageError(f"the database to move to is not empty: rows in {', '.join(full)}; give a new one")
    for name in seeded:
        await new.execute(text(f'DELETE FROM "{name}"'))  # noqa: S608 - names of our own tables


async def _set_triggers(new: AsyncConnection, tables: Sequence[Table], how: str) -> None:
    """The rules of the books count what is inserted; what is moved is counted already, and checked at the end."""
    for table in tables:
        await new.execute(text(f'ALTER TABLE "{table.name}" {how} TRIGGER USER'))


async def _copy(old: AsyncConnection, new: AsyncConnection, table: Table) -> MovedTable:
    """Copy one table and prove that it is the same there."""
    here, there = Digest(), Digest()

    async def records() -> AsyncIterator[tuple[Any, ...]]:
        async for row in read_rows(old, table):
            refuse_nul(table, row)
            here.add(meaning_of(table, row))
            yield row

    driver: Any = (await new.get_raw_connection()).driver_connection
    try:
        await driver.copy_records_to_table(
            table.name, records=records(), columns=[column.name for column in table.columns]
        )
    except UsageError:
        raise
    except Exception as error:
        # The driver's own errors, past SQLAlchemy's translation; their words may quote values.
        code = getattr(error, "sqlstate", None) or type(error).__name__
        raise UsageError(f"{table.name} cannot be copied ({code}); nothing was moved") from error
    async for row in read_rows(new, table):
        there.add(meaning_of(table, row))
    if here != there:
        raise UsageError(
            f"{table.name} is not the same after copying: {here.rows} rows became {there.rows}, or their content"
            " differs; nothing was moved"
        )
    return MovedTable(table.name, here.rows, str(here))


async def _add_slots(new: AsyncConnection) -> None:
    """PostgreSQL spreads an account without a running balance over more rows, which begin at zero."""
    for slot in range(SLOTS_SQLITE, SLOTS_POSTGRESQL):
        zero = select(accounts.c.id, text(str(slot)), text("0"), text("0")).where(~accounts.c.running)
        await new.execute(insert(balances).from_select(["account_id", "slot", "balance", "last_move_id"], zero))


async def _set_sequences(old: AsyncConnection, new: AsyncConnection, all_tables: Sequence[MetaData]) -> None:
    """The numbers go on where they stood."""
    values = {row.name: row.value for row in await old.execute(select(sequences))}
    named: list[NamedSequence] = [one for tables in all_tables for one in tables._sequences.values()]
    for sequence in named:
        if sequence.name in values:
            await new.execute(
                text("SELECT setval(CAST(:name AS regclass), :value)"),
                {"name": sequence.name, "value": values.pop(sequence.name)},
            )
    if values:
        raise UsageError(
            f"the database counts in {', '.join(sorted(values))}, which nothing declares; nothing was moved"
        )


async def _compare(old: AsyncConnection, new: AsyncConnection) -> EquationReport:
    before, after = await check_in(old), await check_in(new)
    if before != after:
        raise UsageError("`hub check` would say something else of the database moved to; nothing was moved")
    return after
