"""Fixtures for everybody: a fresh database of either kind with all tables, a store on it, a clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from hub.store.store import Store
from tests.support.clock import SettableClock
from tests.support.databases import DIALECTS, Databases

CONNECTIONS = 12


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    """Makes databases; what is left at the end goes with it."""
    made = Databases(tmp_path_factory.mktemp("databases"))
    yield made
    asyncio.run(made.close())


@pytest.fixture(params=DIALECTS)
async def database_url(request: pytest.FixtureRequest, databases: Databases) -> AsyncIterator[str]:
    """The address of a fresh database with all tables, once on SQLite and once on PostgreSQL."""
    address = await databases.fresh(request.param)
    yield address
    await databases.drop(address)


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    """The database, opened."""
    opened = Store.open(database_url, pool_size=CONNECTIONS)
    yield opened
    await opened.close()


@pytest.fixture
def clock() -> SettableClock:
    """Stands at 2026-11-21 09:30 UTC until it is moved."""
    return SettableClock()
