"""Databases of our own on the PostgreSQL server that is measured on: made, checked, dropped."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg

USUAL = "postgresql://root@127.0.0.1:5432/test"
CONNECT_S_MAX = 10.0
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}


def server() -> str:
    """The address of the server, with a database in which others may be made."""
    return os.environ.get("HUB_TEST_POSTGRES_URL") or USUAL


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url, timeout=CONNECT_S_MAX)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def database(*, has_slow_disk: bool = False) -> AsyncIterator[str]:
    """The address of an empty database, dropped at the end.

    ``has_slow_disk``: each commit waits two milliseconds before it flushes (commit_delay with no siblings asked for).
    Raises RuntimeError where a commit need not be on the disk.
    """
    name = f"hub_bench_{uuid4().hex[:12]}"
    async with connected(server()) as admin:
        await admin.execute(f"CREATE DATABASE {name}")
        if has_slow_disk:
            await admin.execute(f"ALTER DATABASE {name} SET commit_delay = 2000")
            await admin.execute(f"ALTER DATABASE {name} SET commit_siblings = 0")
    url = f"{server().rpartition('/')[0]}/{name}"
    try:
        await refuse_unless_durable(url)
        yield url
    finally:
        async with connected(server()) as admin:
            await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


async def refuse_unless_durable(url: str) -> None:
    """Raises RuntimeError when a commit need not be on the disk: such a run would have no figure."""
    async with connected(url) as connection:
        found = {name: await connection.fetchval(f"SHOW {name}") for name in DURABLE}
    if found != DURABLE:
        raise RuntimeError(f"PostgreSQL must run with {DURABLE}, found {found}")


async def deadlocks(url: str) -> int:
    """How many deadlocks this database has seen."""
    async with connected(url) as connection:
        return int(
            await connection.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        )


async def version() -> str:
    async with connected(server()) as connection:
        return str(await connection.fetchval("SHOW server_version"))
