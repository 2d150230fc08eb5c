"""Waiting until a transaction waits for another one: a fact that PostgreSQL tells, instead of a guess at a time."""

from __future__ import annotations

import asyncio

from sqlalchemy import text

from hub.store.store import Store

WAIT_S_MAX = 20.0
_WAITING = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")


async def until_one_waits(store: Store) -> None:
    """Return once a transaction of this database waits for a lock; PostgreSQL only."""
    async with asyncio.timeout(WAIT_S_MAX):
        while True:
            async with store.reading() as conn:
                if await conn.scalar(_WAITING):
                    return
            await asyncio.sleep(0.005)
