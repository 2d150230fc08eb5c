"""Behind PgBouncer in transaction mode: each transaction may be on another connection of the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from structlog.testing import capture_logs

from hub.ownership.holding import DELIVER
from hub.store.store import Store
from tests.integration.app.shop import assert_nothing_lost_or_doubled, everything_is_done, send_all, shop_environment
from tests.support.clock import SettableClock
from tests.support.databases import Databases
from tests.support.owning import expire_leases, joined
from tests.support.pgbouncer import pooled
from tests.support.running import running, until

ORDERS = [f"order-{number}" for number in range(60)]


@pytest.fixture
async def direct(databases: Databases) -> AsyncIterator[str]:
    address = await databases.fresh("postgresql")
    yield address
    await databases.drop(address)


@pytest.fixture
async def through(direct: str) -> AsyncIterator[str]:
    async with pooled(direct) as address:
        yield address


async def test_a_store_keeps_nothing_on_a_connection(through: str) -> None:
    store = Store.open(through, pool_size=12, is_pooled=True)

    async def work(conn: AsyncConnection) -> tuple[int, str]:
        backend = (await conn.execute(text("SELECT pg_backend_pid()"))).scalar_one()
        await conn.execute(text("SELECT pg_sleep(0.01)"))
        assert (await conn.execute(text("SELECT pg_backend_pid()"))).scalar_one() == backend
        return backend, (await conn.execute(text("SHOW lock_timeout"))).scalar_one()

    try:
        answers = await asyncio.gather(*(store.write(work) for _ in range(100)))
        async with store.reading() as conn:
            prepared = await conn.scalar(text("SELECT count(*) FROM pg_prepared_statements"))
    finally:
        await store.close()

    # Fewer connections than clients, each with its own bound on waiting, and nothing left behind on them.
    assert 1 < len({backend for backend, _ in answers}) <= 3
    assert {timeout for _, timeout in answers} == {"10s"}
    assert prepared == 0


@pytest.mark.parametrize("has_direct", [False, True])
async def test_a_hub_works_behind_a_pooler(direct: str, through: str, tmp_path: Path, *, has_direct: bool) -> None:
    environ = shop_environment(tmp_path, through, HUB_DATABASE_POOLER="transaction")
    if has_direct:
        environ["HUB_DATABASE_DIRECT_URL"] = direct
    with capture_logs() as logs:
        async with running(environ) as one, running(environ) as other:
            await until(lambda: all(hub.hub.owner.owned(DELIVER) for hub in (one, other) if hub.hub.owner))
            acknowledged = await send_all(one.url, ORDERS)
            await until(lambda: everything_is_done(other.hub.store))
            assert one.hub.wakeups.is_listening is has_direct
        said = [line for line in logs if line["event"] == "wakeups_off"]
        # Once per process, and not each time that something is to be told.
        assert len(said) == (0 if has_direct else 2)

    store = Store.open(direct)
    try:
        assert len(acknowledged) == len(ORDERS)
        await assert_nothing_lost_or_doubled(store, acknowledged)
    finally:
        await store.close()


async def test_a_take_over_ends_a_stuck_transaction_behind_a_pooler(through: str) -> None:
    clock = SettableClock()
    first_store, second_store = (Store.open(through, pool_size=4, is_pooled=True) for _ in range(2))
    held, goes_on = asyncio.Event(), asyncio.Event()

    async def stuck(conn: AsyncConnection) -> None:
        await conn.execute(text("SELECT set_config('idle_in_transaction_session_timeout', '0', true)"))
        held.set()
        await goes_on.wait()
        await conn.execute(text("SELECT 1"))

    try:
        first = await joined(first_store, clock)
        old = asyncio.create_task(first_store.write(stuck, fence=first.fence))
        await held.wait()
        await expire_leases(second_store)

        second = await joined(second_store, clock)

        assert len(second.holdings[DELIVER].lanes) == 256
        goes_on.set()
        with pytest.raises(Exception, match="database"):
            await old
    finally:
        await first_store.close()
        await second_store.close()
