"""Takes the database away from a running hub for a while, as an outage would."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hub.store.store import Store
from tests.support.servers import administer

LOCK_S_MAX = 120.0


@asynccontextmanager
async def database_away(store: Store) -> AsyncIterator[None]:
    """SQLite: another process holds the write lock. PostgreSQL: every connection is cut and none is let in."""
    url = store.writer.url
    assert url.database is not None
    if store.dialect == "sqlite":
        # In a thread: the hub, which may hold the lock at this moment, runs on this very loop.
        holder = sqlite3.connect(url.database, isolation_level=None, timeout=LOCK_S_MAX, check_same_thread=False)
        await asyncio.to_thread(holder.execute, "BEGIN IMMEDIATE")
        try:
            yield
        finally:
            holder.close()
        return
    name = url.database
    await administer(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    await administer(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    try:
        yield
    finally:
        await administer(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
