"""A fresh database with the ledger's tables, on SQLite and on PostgreSQL."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

import hub.ledger.tables
import hub.store.tables
from hub.store.metadata import metadata
from hub.store.store import Store

assert hub.ledger.tables  # its package creates the rules together with the tables
assert hub.store.tables

POSTGRESQL = os.environ.get("HUB_TEST_POSTGRESQL_URL", "postgresql+asyncpg://root@127.0.0.1:5432/test")
CONNECTIONS = 12


@pytest.fixture(params=["sqlite", "postgresql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    if request.param == "sqlite":
        async for store in _prepared(f"sqlite+aiosqlite:///{tmp_path / 'ledger.db'}"):
            yield store
        return
    name = f"hub_ledger_{uuid4().hex[:12]}"
    try:
        admin = await asyncpg.connect(POSTGRESQL.replace("+asyncpg", ""), timeout=5)
    except OSError:
        if os.environ.get("CI"):
            raise
        pytest.skip("no PostgreSQL here")
    await admin.execute(f"CREATE DATABASE {name}")
    # Deadlocks are made on purpose here; nobody should wait a second for each.
    await admin.execute(f"ALTER DATABASE {name} SET deadlock_timeout = '20ms'")
    try:
        async for store in _prepared(POSTGRESQL.rsplit("/", 1)[0] + f"/{name}"):
            yield store
    finally:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


async def _prepared(url: str) -> AsyncIterator[Store]:
    store = Store.open(url, pool_size=CONNECTIONS)
    async with store.writer.begin() as conn:
        await conn.run_sync(metadata.create_all)
    try:
        yield store
    finally:
        await store.close()
