"""Write the beginning of a migration: ``python -m hub.store.migrations.draft hub|handlers.NAME "what it does"``.

Compares a scratch SQLite database at the branch's last migration with the tables that are defined, and writes what is
between them as the next numbered file. To be finished by hand: checks on tables that exist, changed types, triggers,
sequences and what only one of the databases has are not seen. ``tests/integration/store`` says what is still missing.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

from alembic.autogenerate import produce_migrations, render_python_code
from alembic.operations.ops import CreateTableOp, MigrationScript
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import CheckConstraint, Column, Connection, MetaData

import hub.flow.tables
import hub.ledger.tables
import hub.store.tables
import hub.store.tables_archive
import hub.transports.tables
from hub.errors import ConfigError
from hub.store.metadata import metadata as hub_metadata
from hub.store.readiness import HUB_BRANCH, Branch, branches_of
from hub.store.schema import compatible_since, scripts_of, upgrade
from hub.store.store import Store
from hub.store.types import BigInt, Json, UtcTime
from hub.wiring import load_capabilities

assert hub.ledger.tables, (
    hub.flow.tables,
    hub.store.tables,
    hub.store.tables_archive,
    hub.transports.tables,
)  # they define tables

TEMPLATE = '''"""{message}."""

# ruff: noqa: E501, PLR0915 - a list of tables, as it was drafted
from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hub.store.types import BigInt, Json, UtcTime

revision = "{revision}"
down_revision = {previous}
# A program that knows no later migration than this one may go on working. Without this line, only new ones may.
compatible_since = {since}


def upgrade() -> None:
    {body}
'''


def main(arguments: list[str]) -> None:
    """Write the file and say where it is."""
    if len(arguments) != 2:
        raise SystemExit(__doc__)
    asyncio.run(_draft(*arguments))


async def _draft(package: str, message: str) -> None:
    capabilities = () if package == HUB_BRANCH else load_capabilities([package]).members
    branch = branches_of(capabilities)[-1]
    tables = capabilities[0].tables if capabilities else hub_metadata
    if tables is None or (capabilities and capabilities[0].migrations is None):
        raise ConfigError(f"{package} has no tables or no folder for migrations")
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(f"sqlite+aiosqlite:///{folder}/scratch.db")
        await upgrade(store, capabilities)
        async with store.reading() as conn:
            text = await conn.run_sync(_render, branch, tables, message)
        await store.close()
    sys.stdout.write(f"{_save(branch, message, text)}\n")


def _render(connection: Connection, branch: Branch, tables: MetaData, message: str) -> str:
    context = MigrationContext.configure(
        connection,
        opts={"version_table": branch.version_table, "compare_type": False, "include_object": _is_ours(tables)},
    )
    script: MigrationScript = produce_migrations(context, tables)
    assert script.upgrade_ops is not None
    for operation in script.upgrade_ops.ops:
        if isinstance(operation, CreateTableOp):
            _fit(operation)
    body = render_python_code(script.upgrade_ops, render_item=_render_item, migration_context=context)
    # The names are final already: no naming convention is at work when a migration runs.
    body = re.sub(r"op\.f\(('[^']*')\)", r"\1", re.sub(r"\n? *# ###.*\n?", "", body))
    scripts = scripts_of(branch)
    previous, since = scripts.get_current_head(), since_of(scripts)
    return TEMPLATE.format(
        message=message,
        revision=f"{int(previous or 0) + 1:04}",
        previous=f'"{previous}"' if previous else None,
        since=f'"{since}"' if since else None,
        body=body.strip(),
    )


def since_of(scripts: ScriptDirectory) -> str | None:
    """What the next migration says of who may work, where it keeps the rules: nothing new. None for the first one.

    The one before it would be too strict: with two of them in one version, the version before knows neither.
    """
    return compatible_since(scripts) if scripts.get_current_head() else None


def _fit(operation: CreateTableOp) -> None:
    """Lift checks written within a column, which rendering leaves out; leave out what only one database has."""
    for column in [item for item in operation.columns if isinstance(item, Column)]:
        operation.columns = [
            *operation.columns,
            *(
                CheckConstraint(str(check.sqltext), name=str(check.name))
                for check in column.constraints
                if isinstance(check, CheckConstraint)
            ),
        ]
    operation.columns = [item for item in operation.columns if getattr(item, "_ddl_if", None) is None]


def _is_ours(tables: MetaData) -> Any:
    def include(_item: Any, name: str | None, kind: str, *_: Any) -> bool:
        # The scratch database holds the tables of the hub's branch too.
        return kind != "table" or name in tables.tables

    return include


def _render_item(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """Our own types by their names."""
    if kind == "type":
        if isinstance(item, UtcTime):
            return "UtcTime()"
        return "BigInt" if item is BigInt else "Json" if item is Json else False
    return False


def _save(branch: Branch, message: str, text: str) -> Path:
    found = re.search(r'^revision = "(\d+)"', text, re.MULTILINE)
    assert found is not None
    slug = "_".join(re.findall(r"[a-z0-9]+", message.lower())[:6])
    path = branch.folder / f"{found.group(1)}_{slug}.py"
    path.write_text(text, encoding="utf-8")
    for command in ("check --fix-only --quiet", "format --quiet"):
        subprocess.run([sys.executable, "-m", "ruff", *command.split(), str(path)], check=True)  # noqa: S603 - our own file
    # Where the remark about long lines was not needed, its place is left empty.
    path.write_text(path.read_text(encoding="utf-8").replace('"""\n\n\nfrom', '"""\n\nfrom', 1), encoding="utf-8")
    return path


if __name__ == "__main__":
    main(sys.argv[1:])
