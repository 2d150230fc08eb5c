"""Waiting until a transaction waits for another one: a fact that PostgreSQL tells, instead of a guess at a time."""

from __future__ import annotations

from sqlalchemy import text

from hub.store.store import Store
from tests.support.patience import until

_WAITING = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")


async def until_one_waits(store: Store) -> None:
    """Return once a transaction of this database waits for a lock; PostgreSQL only."""

    async def one_waits() -> bool:
        async with store.reading() as conn:
            return bool(await conn.scalar(_WAITING))

    await until(one_waits, "a transaction that waits", pause_s=0.005)
