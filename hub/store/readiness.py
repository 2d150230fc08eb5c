"""What a start does about the database's tables: nearly always nothing, and then what upgrades them is not even loaded.

Alembic and what comes with it take ten megabytes, which a hub would carry for as long as it runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
from sqlalchemy import Connection, inspect, text

from hub.capability import Capability
from hub.errors import ConfigError
from hub.store.store import Store

MIGRATIONS = Path(__file__).parent / "migrations"
HUB_BRANCH = "hub"
_NAMED = re.compile(r'^(revision|down_revision) = (?:None|"(\w+)")$', re.MULTILINE)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Branch:
    """One chain of migrations: its name, its folder and the table that says how far the database has come."""

    name: str
    folder: Path
    version_table: str

    @property
    def newest(self) -> str | None:
        """The last migration of the chain, from the files' texts; None where these do not show one chain plainly."""
        revisions: dict[str | None, str] = {}
        for file in self.folder.glob("*.py"):
            if file.name == "__init__.py":
                continue
            named = dict(_NAMED.findall(file.read_text()))
            if not named.get("revision") or "down_revision" not in named:
                return None
            before = named["down_revision"] or None
            if before in revisions:
                return None
            revisions[before] = named["revision"]
        newest: str | None = None
        while newest in revisions:
            newest = revisions.pop(newest)
        return newest if not revisions else None


def branches_of(capabilities: Iterable[Capability]) -> list[Branch]:
    """The hub's branch, then those of the capabilities that have tables, in their order."""
    own = Branch(HUB_BRANCH, MIGRATIONS / "versions", "alembic_version")
    return [
        own,
        *(
            Branch(one.name, one.migrations, f"alembic_version_{one.name}")
            for one in capabilities
            if one.migrations is not None
        ),
    ]


async def is_current(store: Store, capabilities: Iterable[Capability]) -> bool:
    """Whether every migration has plainly been run; False where a closer look has to tell."""
    newest = {branch.version_table: branch.newest for branch in branches_of(capabilities)}
    async with store.reading() as conn:
        return await conn.run_sync(_stand_at, newest)


async def prepare(store: Store, capabilities: Iterable[Capability], *, may_upgrade: bool = True) -> list[str]:
    """What a hub does at its start: upgrade, unless it may not.

    SQLite and an empty database are always upgraded. Raises ConfigError when something is missing and ``may_upgrade``
    is false: then ``hub db upgrade`` is a step of the deployment. A newer database is worked on if it allows that.
    """
    members = tuple(capabilities)
    if await is_current(store, members):
        return []
    from hub.store.schema import ahead, current, pending, upgrade  # noqa: PLC0415 - see the top of this file

    newer = await ahead(store, members)
    if not may_upgrade and store.dialect != "sqlite":
        missing = await pending(store, members)
        if missing and any((await current(store, members)).values()):
            raise ConfigError(f"the database lacks {', '.join(missing)}: run `hub db upgrade` first")
    done = await upgrade(store, members)
    if newer:
        log.warning("newer_database_accepted", branches=newer)
    return done


def _stand_at(connection: Connection, newest: dict[str, str | None]) -> bool:
    inspector = inspect(connection)
    return all(
        revision is not None and inspector.has_table(table) and _versions(connection, table) == [revision]
        for table, revision in newest.items()
    )


def _versions(connection: Connection, table: str) -> Sequence[str]:
    # Alembic's own table; the names are those of the branches above.
    return connection.scalars(text(f'SELECT version_num FROM "{table}"')).all()  # noqa: S608
