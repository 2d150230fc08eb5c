"""Fresh, migrated databases: a template is migrated once per process, and every test gets a copy of it."""

from __future__ import annotations

import importlib
import pkgutil
import shutil
from pathlib import Path

import handlers
from hub.capability import Capability
from hub.store.schema import upgrade
from hub.store.store import Store
from tests.support.copies import Copies, drop
from tests.support.servers import address_of, make_database, new_name, sweep

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
        self._copies: Copies | None = None
        self._in_hand: set[str] = set()
        self._given_back: set[str] = set()

    async def fresh(self, dialect: str) -> str:
        """The address of a new database with all tables. Skips the test where there is no PostgreSQL and none named."""
        if dialect == "sqlite":
            return await self._fresh_sqlite()
        self._copies = self._copies or Copies(await self._make_postgres_template())
        name = await self._copies.take()
        self._in_hand.add(name)
        return address_of(name)

    async def empty(self, dialect: str) -> str:
        """The address of a new database without any table."""
        if dialect == "sqlite":
            return f"sqlite+aiosqlite:///{self._folder / new_name()}.db"
        name = new_name()
        await make_database(name)
        return address_of(name)

    async def drop(self, address: str) -> None:
        """Remove a database that this made."""
        if address.startswith("sqlite"):
            file = Path(address.partition("///")[2])
            for one in file.parent.glob(f"{file.name}*"):
                one.unlink()
            return
        name = address.rpartition("/")[2]
        if self._copies is not None and name in self._in_hand:
            self._in_hand.remove(name)
            await self._copies.give_back(name)
            self._given_back.add(name)
        else:
            await drop(name)

    def a_test_begins(self) -> None:
        """Whatever was given back before is in order."""
        self._given_back.clear()

    def a_test_has_failed(self) -> None:
        """What it has or had in hand is nobody else's ever again: a hub that it left behind may still write to it."""
        self._in_hand.clear()
        if self._copies is not None:
            for name in self._given_back:
                self._copies.distrust(name)

    async def close(self) -> None:
        if self._copies is not None:
            await self._copies.close()
            await drop(self._copies.template)

    async def _fresh_sqlite(self) -> str:
        if self._sqlite_template is None:
            template = self._folder / f"{new_name()}.db"
            await _migrate(f"sqlite+aiosqlite:///{template}")
            self._sqlite_template = template
        file = self._folder / f"{new_name()}.db"
        shutil.copyfile(self._sqlite_template, file)
        return f"sqlite+aiosqlite:///{file}"

    async def _make_postgres_template(self) -> str:
        name = f"{new_name()}_template"
        await make_database(name)
        await sweep()
        await _migrate(address_of(name))
        return name


async def _migrate(address: str) -> None:
    store = Store.open(address, pool_size=2)
    try:
        await upgrade(store, all_capabilities())
    finally:
        await store.close()
