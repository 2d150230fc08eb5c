"""The rules that the database itself enforces, run whenever the ledger's tables are created.

A migration that creates the tables executes the same texts: ``for statement in create_statements(dialect)``.
Source: docs/guarantees.md, G5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, MetaData, Table, event

from hub.ledger import ddl_postgresql, ddl_sqlite
from hub.ledger.tables import TABLES, moves
from hub.store.metadata import metadata

_CREATE = {"postgresql": ddl_postgresql.CREATE, "sqlite": ddl_sqlite.CREATE}
_DROP = {
    "postgresql": (ddl_postgresql.DROP_FIRST, ddl_postgresql.DROP_LAST),
    "sqlite": (ddl_sqlite.DROP_FIRST, ddl_sqlite.DROP_LAST),
}


def create_statements(dialect: str) -> tuple[str, ...]:
    """Views, functions and triggers, in order, to run once all tables of ``TABLES`` exist."""
    return _CREATE[dialect]


def drop_statements(dialect: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What to run before and after the tables are dropped (their triggers go with them)."""
    return _DROP[dialect]


def _run(connection: Connection, statements: Sequence[str]) -> None:
    for statement in statements:
        connection.exec_driver_sql(statement)


@event.listens_for(metadata, "after_create")
def _after_create(_: MetaData, connection: Connection, *, tables: Sequence[Table] | None = None, **__: Any) -> None:
    # With checkfirst, tables that were there are not in the list: then their triggers are there too.
    if moves in (tables or ()):
        missing = {table.name for table in TABLES} - {table.name for table in tables or ()}
        assert not missing, f"the ledger's tables are created together, missing: {missing}"
        _run(connection, create_statements(connection.dialect.name))


@event.listens_for(metadata, "before_drop")
def _before_drop(_: MetaData, connection: Connection, *, tables: Sequence[Table] | None = None, **__: Any) -> None:
    if moves in (tables or ()):
        _run(connection, drop_statements(connection.dialect.name)[0])


@event.listens_for(metadata, "after_drop")
def _after_drop(_: MetaData, connection: Connection, *, tables: Sequence[Table] | None = None, **__: Any) -> None:
    if moves in (tables or ()):
        _run(connection, drop_statements(connection.dialect.name)[1])
