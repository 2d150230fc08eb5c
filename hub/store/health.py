"""Whether the database answers and can be written to, without writing: a probe must cost nothing."""

from __future__ import annotations

import asyncio
import os

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.capability import CheckResult
from hub.errors import StoreUnavailableError
from hub.store.store import Store

CHECK_S_MAX = 2.0


async def check_database(store: Store) -> CheckResult:
    """Ready when a look at the database succeeds and nothing says that it is read-only."""
    try:
        async with asyncio.timeout(CHECK_S_MAX), store.reading() as conn:
            obstacle = await (_sqlite(conn) if store.dialect == "sqlite" else _postgresql(conn))
    except (StoreUnavailableError, TimeoutError) as error:
        return CheckResult("database", ok=False, detail=type(error).__name__)
    return CheckResult("database", ok=not obstacle, detail=obstacle or store.dialect)


async def _postgresql(conn: AsyncConnection) -> str:
    # Not transaction_read_only, which is on for every reading of ours.
    query = "SELECT pg_is_in_recovery() AS standby, current_setting('default_transaction_read_only') AS read_only"
    row = (await conn.execute(text(query))).one()
    if row.standby:
        return "a standby: it cannot be written to"
    return "read-only by its settings" if row.read_only == "on" else ""


async def _sqlite(conn: AsyncConnection) -> str:
    name: str | None = (await conn.execute(text("SELECT file FROM pragma_database_list WHERE name = 'main'"))).scalar()
    return "" if not name or os.access(name, os.W_OK) else "its file cannot be written to"
