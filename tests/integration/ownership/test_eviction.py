"""A transaction that a dead worker left open is ended, and nothing else on the server is."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy import text

from hub.ownership.eviction import end_worker
from hub.store.store import Store
from tests.support.clock import SettableClock
from tests.support.databases import Databases
from tests.support.owning import joined
from tests.support.patience import until
from tests.support.servers import connect_to

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture
async def elsewhere(databases: Databases) -> AsyncIterator[asyncpg.Connection]:
    """A transaction in another database."""
    address = await databases.fresh("postgresql")
    connection = await connect_to(address.rpartition("/")[2])
    await connection.execute("BEGIN; LOCK TABLE workers")
    yield connection
    await connection.close()
    await databases.drop(address)


async def test_only_what_stands_in_the_way_is_ended(
    store: Store, clock: SettableClock, elsewhere: asyncpg.Connection
) -> None:
    dead = await joined(store, clock)
    name = store.writer.url.database
    assert name is not None
    in_the_way, beside = await connect_to(name), await connect_to(name)
    await in_the_way.execute("BEGIN; SELECT FROM workers FOR SHARE")
    await beside.execute("BEGIN; LOCK TABLE outbox")

    assert await end_worker(store, dead.fence.worker_id, dead.fence.epoch, patience_s=0.05)

    await until(in_the_way.is_closed)
    assert await beside.fetchval("SELECT 1") == await elsewhere.fetchval("SELECT 1") == 1
    async with store.reading() as conn:
        assert await conn.scalar(text("SELECT state FROM workers")) == "lost"
    await beside.close()
