"""Tables to which rows are only ever added: the database itself refuses to change or delete one."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Table, event

_FUNCTION = """
CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '%: rows are only ever added', TG_TABLE_NAME;
END $$
""".strip()


def append_only_statements(dialect: str, table: str) -> tuple[str, ...]:
    """What makes a table append-only, in order; a migration executes the same texts."""
    if dialect == "postgresql":
        trigger = (
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )
        return (_FUNCTION, trigger)
    return tuple(
        f"CREATE TRIGGER {table}_no_{operation.lower()} BEFORE {operation} ON {table}"
        f" BEGIN SELECT RAISE(ABORT, '{table}: rows are only ever added'); END"
        for operation in ("UPDATE", "DELETE")
    )


def append_only(table: Table) -> Table:
    """Let the table be append-only wherever it is created."""

    @event.listens_for(table, "after_create")
    def _after_create(_: Table, connection: Connection, **__: Any) -> None:
        for statement in append_only_statements(connection.dialect.name, table.name):
            connection.exec_driver_sql(statement)

    return table
