"""Bringing the database's tables to what this program expects: one chain of migrations per branch.

The hub is one branch, each capability that routing.yaml names is another. A branch keeps its place in a table of its
own (``alembic_version``, ``alembic_version_<capability>``), so that a capability may be taken out of routing.yaml and
put back later. Everything that is missing runs in one transaction, under a lock that a second process waits for.

A migration says with which programs its tables still agree: ``compatible_since`` names the last migration of its branch
that a program must know. The database keeps the strictest word, so that an older program can tell whether it may work.
Source: docs/upgrading.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import structlog
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.script.revision import ResolutionError
from sqlalchemy import Connection, inspect, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from hub.capability import Capability
from hub.errors import ConfigError, StoreUnavailableError
from hub.store.engines import CONNECT_TIMEOUT_S, UNPREPARED
from hub.store.readiness import MIGRATIONS, Branch, branches_of
from hub.store.store import Store, unavailable
from hub.store.tables_schema import compatibility
from hub.store.upserts import insert_for

T = TypeVar("T")

TURN_S_MAX = 300
"""How long a process waits on PostgreSQL while another one upgrades."""
LOCK_S_MAX = 10
"""How long a migration waits for a table that a running hub uses, before it gives up and changes nothing."""
_TURN = 0x687562  # "hub": the advisory lock of upgrades

log = structlog.get_logger(__name__)


async def upgrade(store: Store, capabilities: Iterable[Capability]) -> list[str]:
    """Run every migration that is missing, all or none; returns their names (``hub 0001``), oldest first.

    Safe to run twice, and by two processes at once: the second waits for the first and finds nothing to do. Raises
    ConfigError when the database is too new for this program, StoreUnavailableError when it does not answer.
    """
    branches = branches_of(capabilities)
    async with store.reading() as conn:
        missing = await conn.run_sync(_pending, branches)
    if not missing:
        return []
    if store.dialect == "sqlite":
        # BEGIN IMMEDIATE: the whole file is locked for writing from here on.
        done = await store.write(lambda conn: conn.run_sync(_upgrade, branches))
    else:
        async with _upgrading(store) as conn:
            done = await conn.run_sync(_upgrade, branches)
    if done:
        log.info("database_upgraded", migrations=done)
    return done


async def current(store: Store, capabilities: Iterable[Capability]) -> dict[str, str | None]:
    """How far each branch has come; None where it has not begun."""
    branches = branches_of(capabilities)
    async with store.reading() as conn:
        return await conn.run_sync(lambda sync: {branch.name: _revision(sync, branch) for branch in branches})


async def pending(store: Store, capabilities: Iterable[Capability]) -> list[str]:
    """The migrations that ``upgrade`` would run. Raises ConfigError when the database is too new for this program."""
    branches = branches_of(capabilities)
    async with store.reading() as conn:
        return await conn.run_sync(_pending, branches)


async def ahead(store: Store, capabilities: Iterable[Capability]) -> list[str]:
    """Where the database is newer than this program, which may work on it all the same: as ``hub 0012``."""
    branches = branches_of(capabilities)
    async with store.reading() as conn:
        return await conn.run_sync(
            lambda sync: [f"{one.name} {_revision(sync, one)}" for one in branches if _is_ahead(sync, one)]
        )


@asynccontextmanager
async def _upgrading(store: Store) -> AsyncIterator[AsyncConnection]:
    """A transaction on PostgreSQL that has the turn to upgrade, without the store's bound on a statement's time."""
    engine = create_async_engine(
        store.writer.url,
        poolclass=NullPool,
        hide_parameters=True,
        # Through a pooler or not: nothing here is worth keeping on a connection.
        connect_args={
            "timeout": CONNECT_TIMEOUT_S,
            "server_settings": {"application_name": "hub upgrade"},
            **UNPREPARED,
        },
    )
    try:
        async with engine.begin() as conn:
            await conn.execute(text(f"SET LOCAL lock_timeout = '{TURN_S_MAX}s'"))
            await conn.execute(text("SELECT pg_advisory_xact_lock(:turn)"), {"turn": _TURN})
            await conn.execute(text(f"SET LOCAL lock_timeout = '{LOCK_S_MAX}s'"))
            yield conn
    except DBAPIError as error:
        raise unavailable(error) or error from error
    except OSError as error:
        raise StoreUnavailableError(f"the database did not answer: {error}", delay_s=1.0) from error
    finally:
        await engine.dispose()


def scripts_of(branch: Branch) -> ScriptDirectory:
    """The branch's migrations."""
    return ScriptDirectory(MIGRATIONS, version_locations=[branch.folder])


def _upgrade(connection: Connection, branches: Sequence[Branch]) -> list[str]:
    done: list[str] = []
    for branch in branches:
        missing = _missing(connection, branch)
        if not missing:
            continue
        scripts = scripts_of(branch)
        context = _context(connection, branch, lambda revision, _, s=scripts: s._upgrade_revs("head", revision))
        with Operations.context(context):
            context.run_migrations()
        done += [f"{branch.name} {revision}" for revision in missing]
    if done:
        _say_who_may_work(connection, branches)
    return done


def _say_who_may_work(connection: Connection, branches: Sequence[Branch]) -> None:
    """Of each branch that is where this program would have it, keep the strictest word of its migrations."""
    new = insert_for(connection.dialect.name, compatibility)
    later = new.on_conflict_do_update(index_elements=["branch"], set_={"since": new.excluded.since})
    for branch in branches:
        scripts = scripts_of(branch)
        if _revision(connection, branch) == scripts.get_current_head():
            connection.execute(later, [{"branch": branch.name, "since": compatible_since(scripts)}])


def compatible_since(scripts: ScriptDirectory) -> str:
    """The last migration that a program must know to work on the tables that all of these make.

    One that says nothing of it asks for itself: who does not know it stays away.
    """
    chain = list(scripts.walk_revisions())[::-1]
    place = {script.revision: number for number, script in enumerate(chain)}
    return max((getattr(one.module, "compatible_since", None) or one.revision for one in chain), key=place.__getitem__)


def _pending(connection: Connection, branches: Sequence[Branch]) -> list[str]:
    return [f"{branch.name} {revision}" for branch in branches for revision in _missing(connection, branch)]


def _missing(connection: Connection, branch: Branch) -> list[str]:
    scripts, revision = scripts_of(branch), _revision(connection, branch)
    try:
        newer = [script.revision for script in scripts.iterate_revisions("head", revision or "base")]
    except ResolutionError as error:
        if _may_work(connection, branch, scripts):
            return []
        known = scripts.get_current_head() or "nothing"
        raise ConfigError(
            f"the database is too new for this program: {branch.name} is at {revision}, known is up to {known};"
            " run the newer program, or restore a backup of before its upgrade"
        ) from error
    return newer[::-1]


def _may_work(connection: Connection, branch: Branch, scripts: ScriptDirectory) -> bool:
    """Whether the database says that it can live with a program that knows these migrations and no later one."""
    if not inspect(connection).has_table(compatibility.name):
        return False
    since = connection.scalar(select(compatibility.c.since).where(compatibility.c.branch == branch.name))
    return since in {script.revision for script in scripts.walk_revisions()}


def _is_ahead(connection: Connection, branch: Branch) -> bool:
    revision = _revision(connection, branch)
    return revision is not None and revision not in {one.revision for one in scripts_of(branch).walk_revisions()}


def _revision(connection: Connection, branch: Branch) -> str | None:
    return _context(connection, branch, None).get_current_revision()


def _context(connection: Connection, branch: Branch, steps: Callable[..., object] | None) -> MigrationContext:
    return MigrationContext.configure(
        connection, opts={"version_table": branch.version_table, "fn": steps, "transactional_ddl": True}
    )
