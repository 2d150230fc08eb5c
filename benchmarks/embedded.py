"""The whole path with nothing but a database: webhook verified → ledger posted → outbox row sent to an embedded queue.

Beside it, what the machine's databases allow: commits of one row on one connection.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from benchmarks import judge
from benchmarks.databases import connected, database
from benchmarks.figures import Figure
from benchmarks.hubs import hub_process, site
from benchmarks.load import Load
from benchmarks.processes import home
from benchmarks.waiting import SETTLE_POLL_S, SETTLE_S_MAX, SETTLED_QUERIES
from benchmarks.webhook import sent

ROW = b"x" * 550
YARDSTICK_S = 3.0


async def whole_path(name: str, load: Load, *, dialect: str) -> Figure:
    """One hub, its ingress under a closed loop of senders, until everything is sent. fsync and synchronous FULL."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(database()) if dialect == "postgresql" else ""
        folder = await stack.enter_async_context(home())
        where = await stack.enter_async_context(site(folder, database_url=url, broker_url=""))
        async with hub_process(where) as hub:
            figure = await sent(name, load, where.port, hub)
            started = time.monotonic()
            await _until_all_is_sent(url, folder / "hub.db", load)
            backlog_s = time.monotonic() - started
        judge.refuse(judge.wrong_with_hub(await _found(url, folder / "hub.db", judge.HUB_QUERIES), [load], None))
    seconds = load.events / figure.per_s + backlog_s
    return replace(figure, per_s=load.events / seconds, values={**figure.values, "backlog_s": backlog_s})


async def commits(name: str, *, dialect: str) -> Figure:
    """Commits a second of one connection, one row each."""
    if dialect == "postgresql":
        async with database() as url:
            count = await _postgres_commits(url)
    else:
        async with home() as folder:
            count = await asyncio.to_thread(_sqlite_commits, folder / "yardstick.db")
    return Figure(contestant=name, events=count, per_s=count / YARDSTICK_S)


async def _until_all_is_sent(url: str, file: Path, load: Load) -> None:
    """The judge speaks afterwards: this only waits, and gives up in silence at the end of its time."""
    end = time.monotonic() + SETTLE_S_MAX
    while time.monotonic() < end:
        found = await _found(url, file, SETTLED_QUERIES)
        if found["open"] == 0 and found["unsent"] == 0 and found["done"] + found["parked"] == load.events:
            return
        await asyncio.sleep(SETTLE_POLL_S)


async def _found(url: str, file: Path, queries: Mapping[str, str]) -> dict[str, int]:
    if url:
        return await judge.read_postgres(url, queries)
    return await asyncio.to_thread(judge.read_sqlite, file, queries)


async def _postgres_commits(url: str) -> int:
    count = 0
    async with connected(url) as connection:
        await connection.execute("CREATE TABLE yardstick (id bigserial PRIMARY KEY, body bytea)")
        end = time.monotonic() + YARDSTICK_S
        while time.monotonic() < end:
            await connection.execute("INSERT INTO yardstick (body) VALUES ($1)", ROW)
            count += 1
    return count


def _sqlite_commits(file: Path) -> int:
    count = 0
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE yardstick (id INTEGER PRIMARY KEY, body BLOB)")
    end = time.monotonic() + YARDSTICK_S
    while time.monotonic() < end:
        connection.execute("INSERT INTO yardstick (body) VALUES (?)", [ROW])
        count += 1
    connection.close()
    return count
