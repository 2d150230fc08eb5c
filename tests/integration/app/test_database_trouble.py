"""A database that is locked, read-only, full or gone: senders are told to come again, and the hub goes on."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.errors import StoreUnavailableError
from hub.store.store import Store
from tests.integration.app.process import hub_process, start
from tests.integration.app.shop import (
    assert_nothing_lost_or_doubled,
    everything_is_done,
    order,
    send,
    send_all,
    shop_environment,
    states,
)
from tests.scenarios.outage import database_away
from tests.support.misbehaving import ROUTING
from tests.support.patience import STILL_S_MAX
from tests.support.running import RunningHub, running, until
from tests.support.servers import administer

Trouble = Callable[[Store], AbstractAsyncContextManager[None]]
TROUBLE_S = 3.0


@asynccontextmanager
async def read_only(store: Store) -> AsyncIterator[None]:
    """The file, or the server's database, takes no writes."""
    if store.dialect == "sqlite":
        async with pragma(store, "query_only = ON", "query_only = OFF"):
            yield
        return
    name = store.writer.url.database
    await administer(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await cut_connections(name)
    try:
        yield
    finally:
        await administer(f"ALTER DATABASE {name} SET default_transaction_read_only = off")
        await cut_connections(name)


@asynccontextmanager
async def full(store: Store) -> AsyncIterator[None]:
    """SQLite may not grow by another page, as when the disk is full."""
    async with pragma(store, "max_page_count = 1", "max_page_count = 1000000"):
        yield


@asynccontextmanager
async def connections_cut(store: Store) -> AsyncIterator[None]:
    """The server ends every connection, again and again."""
    stopping = asyncio.Event()

    async def cutting() -> None:
        while not stopping.is_set():
            await cut_connections(store.writer.url.database)
            await asyncio.sleep(0.2)

    task = asyncio.create_task(cutting())
    try:
        yield
    finally:
        stopping.set()
        await task


@pytest.mark.parametrize("trouble", [database_away, read_only], ids=["away", "read-only"])
async def test_trouble_is_answered_503_and_nothing_is_lost(hub: RunningHub, trouble: Trouble) -> None:
    assert await send(hub.http, hub.url, order("before")) == 200
    await until(lambda: everything_is_done(hub.hub.store))

    async with trouble(hub.hub.store):
        during = await send_for_a_while(hub)
        assert 200 not in during.values()

    await assert_works_again(hub, {"before"})


async def test_a_full_disk_is_answered_503_and_nothing_is_lost(sqlite_hub: RunningHub) -> None:
    async with full(sqlite_hub.hub.store):
        # What still fits into the pages that are there may be taken.
        during = await send_for_a_while(sqlite_hub)
        assert 503 in during.values()

    await assert_works_again(sqlite_hub, {id for id, status in during.items() if status == 200})


async def test_connections_that_are_cut_again_and_again_lose_nothing(hub: RunningHub) -> None:
    if hub.hub.store.dialect == "sqlite":
        pytest.skip("a file has no connections to cut")

    async with connections_cut(hub.hub.store):
        during = await send_for_a_while(hub)

    await assert_works_again(hub, {id for id, status in during.items() if status == 200})


async def test_the_trouble_meets_work_in_hand_and_it_is_done_afterwards(hub: RunningHub) -> None:
    ids = [f"order-{number}" for number in range(200)]
    sending = asyncio.create_task(send_all(hub.url, ids))
    await until(lambda: some_are_taken(hub.hub.store))

    async with database_away(hub.hub.store):
        await asyncio.sleep(1.0)

    acknowledged = await sending
    await assert_works_again(hub, acknowledged)


async def test_a_daemon_on_a_read_only_file_says_why_it_takes_nothing(tmp_path: Path) -> None:
    environ = shop_environment(tmp_path)
    async with running(environ) as hub:
        await send(hub.http, hub.url, order("before"))
        await until(lambda: everything_is_done(hub.hub.store))
    environ["HUB_DATABASE_URL"] = f"sqlite:///file:{tmp_path}/hub.db?mode=ro&uri=true"

    async with hub_process(environ) as process, aiohttp.ClientSession() as http:
        await process.says("readonly database")
        assert await send(http, process.url, order("during")) == 503
        async with http.get(f"{process.url}/readyz") as response:
            assert response.status == 503

        process.signal(signal.SIGTERM)
        assert await process.ended() == 0
    assert "Traceback" not in process.said


async def test_a_file_that_is_no_database_is_told_in_a_sentence(tmp_path: Path) -> None:
    environ = shop_environment(tmp_path)
    (tmp_path / "hub.db").write_bytes(os.urandom(20_000))

    process = await start(environ)

    assert await process.ended() == 1
    assert "file is not a database" in process.said
    assert "Traceback" not in process.said


async def test_a_server_that_is_not_there_is_told_in_a_sentence(tmp_path: Path) -> None:
    environ = shop_environment(tmp_path, "postgresql://hub:never-shown@127.0.0.1:1/hub")

    process = await start(environ)

    assert await process.ended() == 1
    assert "the database did not answer" in process.said
    assert "Traceback" not in process.said
    assert "never-shown" not in process.said


@pytest.fixture
async def sqlite_hub(tmp_path: Path) -> AsyncIterator[RunningHub]:
    async with running(shop_environment(tmp_path, routing=ROUTING, HUB_DATABASE_BUSY_TIMEOUT_S="0.3")) as hub:
        yield hub
        assert not hub.hub.failed.is_set()


async def send_for_a_while(hub: RunningHub) -> dict[str, int]:
    """Orders one after the other for some seconds; answers with the status of each."""
    statuses: dict[str, int] = {}
    async with asyncio.timeout(STILL_S_MAX):
        end = asyncio.get_running_loop().time() + TROUBLE_S
        while asyncio.get_running_loop().time() < end:
            id = f"during-{len(statuses)}"
            # Large enough to need pages of its own.
            statuses[id] = await send(hub.http, hub.url, order(id) | {"note": "x" * 20_000})
            await asyncio.sleep(0.1)
    return statuses


async def assert_works_again(hub: RunningHub, acknowledged: set[str]) -> None:
    async def is_taken() -> bool:
        return await send(hub.http, hub.url, order("after")) == 200

    async def is_done() -> bool:
        try:
            return await everything_is_done(hub.hub.store)
        except StoreUnavailableError:
            return False  # a connection of the pool that was cut, met for the first time

    await until(is_taken)
    await until(is_done)
    await assert_nothing_lost_or_doubled(hub.hub.store, acknowledged | {"after"})
    assert set(await states(hub.hub.store)) == {"done"}
    assert all(one.ok for one in await hub.hub.ready())


async def some_are_taken(store: Store) -> bool:
    return (await states(store)).get("done", 0) >= 30


@asynccontextmanager
async def pragma(store: Store, on: str, off: str) -> AsyncIterator[None]:
    """Set up the one writing connection for a while."""

    async def apply(words: str) -> None:
        async with store.writer.connect() as conn:
            await on_the_driver(conn, f"PRAGMA {words}")

    await apply(on)
    try:
        yield
    finally:
        await apply(off)


async def on_the_driver(conn: AsyncConnection, statement: str) -> None:
    raw = await conn.get_raw_connection()
    assert raw.driver_connection is not None
    cursor: Awaitable[object] = raw.driver_connection.execute(statement)
    await cursor


async def cut_connections(database: str | None) -> None:
    await administer(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")
