"""Fresh, migrated databases: a template is migrated once per process, and every test gets a copy of it."""

from __future__ import annotations

import importlib
import os
import pkgutil
import shutil
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

import handlers
from hub.capability import Capability
from hub.settings import normal_database_url
from hub.store.schema import upgrade
from hub.store.store import Store

POSTGRES_VARIABLE = "HUB_TEST_POSTGRES_URL"
POSTGRES_USUAL = "postgresql://root@127.0.0.1:5432/test"
CONNECT_S_MAX = 5.0
DIALECTS = ("sqlite", "postgresql")


def all_capabilities() -> tuple[Capability, ...]:
    """Every capability of the repository."""
    names = sorted(module.name for module in pkgutil.iter_modules(handlers.__path__))
    packages = [importlib.import_module(f"handlers.{name}") for name in names]
    return tuple(package.capability for package in packages if hasattr(package, "capability"))


class Databases:
    """Makes databases and drops them again. Names are random, so that test processes do not meet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sqlite_template: Path | None = None
        self._postgres_template: str | None = None

    async def fresh(self, dialect: str) -> str:
        """The address of a new database with all tables. Skips the test where there is no PostgreSQL and none named."""
        if dialect == "sqlite":
            return await self._fresh_sqlite()
        self._postgres_template = self._postgres_template or await self._make_postgres_template()
        name = _new_name()
        await administer(f"CREATE DATABASE {name} TEMPLATE {self._postgres_template}")
        return address_of(name)

    async def empty(self, dialect: str) -> str:
        """The address of a new database without any table."""
        if dialect == "sqlite":
            return f"sqlite+aiosqlite:///{self._folder / _new_name()}.db"
        name = _new_name()
        await administer(f"CREATE DATABASE {name}")
        return address_of(name)

    async def drop(self, address: str) -> None:
        """Remove a database that this made."""
        if address.startswith("sqlite"):
            file = Path(address.partition("///")[2])
            for one in file.parent.glob(f"{file.name}*"):
                one.unlink()
        else:
            await administer(f"DROP DATABASE IF EXISTS {address.rpartition('/')[2]} WITH (FORCE)")

    async def close(self) -> None:
        if self._postgres_template is not None:
            await administer(f"DROP DATABASE IF EXISTS {self._postgres_template} WITH (FORCE)")

    async def _fresh_sqlite(self) -> str:
        if self._sqlite_template is None:
            template = self._folder / f"{_new_name()}.db"
            await _migrate(f"sqlite+aiosqlite:///{template}")
            self._sqlite_template = template
        file = self._folder / f"{_new_name()}.db"
        shutil.copyfile(self._sqlite_template, file)
        return f"sqlite+aiosqlite:///{file}"

    async def _make_postgres_template(self) -> str:
        name = f"{_new_name()}_template"
        await administer(f"CREATE DATABASE {name}")
        await _migrate(address_of(name))
        return name


def address_of(database: str) -> str:
    """The address of a database on the tests' PostgreSQL."""
    server = os.environ.get(POSTGRES_VARIABLE) or POSTGRES_USUAL
    return normal_database_url(f"{server.rpartition('/')[0]}/{database}")


async def administer(statement: str) -> None:
    """Run one statement on the server's own database."""
    named = os.environ.get(POSTGRES_VARIABLE)
    try:
        connection = await asyncpg.connect(named or POSTGRES_USUAL, timeout=CONNECT_S_MAX)
    except (OSError, TimeoutError, asyncpg.PostgresError):
        if named:
            raise
        pytest.skip(f"no PostgreSQL at {POSTGRES_USUAL} and none named by {POSTGRES_VARIABLE}")
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _migrate(address: str) -> None:
    store = Store.open(address, pool_size=2)
    try:
        await upgrade(store, all_capabilities())
    finally:
        await store.close()


def _new_name() -> str:
    return f"hub_test_{uuid4().hex[:12]}"
