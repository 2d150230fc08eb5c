"""A transaction whose process is gone without a word lets go of its locks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.errors import StoreUnavailableError
from hub.store import engines
from hub.store.store import Store
from tests.support.databases import Databases
from tests.support.pgbouncer import pooled
from tests.support.proxy import proxied
from tests.support.running import until

CLAIM = text("INSERT INTO claims VALUES (1) ON CONFLICT DO NOTHING")


@pytest.fixture
async def address(databases: Databases) -> AsyncIterator[str]:
    found = await databases.fresh("postgresql")
    yield found
    await databases.drop(found)


@pytest.mark.parametrize("way", ["direct", "pooled"])
async def test_what_a_silent_process_has_claimed_can_be_claimed_after_a_while(
    address: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert engines.BOUNDS["idle_in_transaction_session_timeout"] == "30s"
    monkeypatch.setitem(engines.BOUNDS, "idle_in_transaction_session_timeout", "300ms")
    monkeypatch.setitem(engines.BOUNDS, "lock_timeout", "50ms")
    host, port = make_url(address).host or "", make_url(address).port or 5432
    async with AsyncExitStack() as stack:
        line = await stack.enter_async_context(proxied(host, port))
        behind = make_url(address).set(host="127.0.0.1", port=line.port).render_as_string(hide_password=False)
        is_pooled = way == "pooled"
        if is_pooled:
            behind = await stack.enter_async_context(pooled(behind))
        gone, other = Store.open(behind, is_pooled=is_pooled), Store.open(address)
        stack.push_async_callback(gone.close)
        stack.push_async_callback(other.close)
        await other.write(_make)
        conn = await gone.writer.connect()
        stack.push_async_callback(conn.invalidate)
        await conn.begin()
        await conn.execute(CLAIM)
        line.stall()
        with pytest.raises(StoreUnavailableError):
            await other.write(_claim)

        async def is_claimed() -> bool:
            with suppress(StoreUnavailableError):
                return await other.write(_claim) == 1
            return False

        await until(is_claimed)
        line.cut()
        line.resume()


async def _make(conn: AsyncConnection) -> None:
    await conn.execute(text("CREATE TABLE claims (id INTEGER PRIMARY KEY)"))


async def _claim(conn: AsyncConnection) -> int:
    return (await conn.execute(CLAIM)).rowcount
