"""The PostgreSQL server of the tests: where it is, and statements on it that belong to no database of a test."""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from hub.settings import normal_database_url

POSTGRES_VARIABLE = "HUB_TEST_POSTGRES_URL"
POSTGRES_USUAL = "postgresql://root@127.0.0.1:5432/test"
CONNECT_S_MAX = 60.0
LEFT_BEHIND_S = 24 * 3_600
"""No test runs so long: a database that is older was left by a process that was killed."""
SWEPT_MAX = 100
_NAME = re.compile(r"hub_test_([0-9a-f]{8})_[0-9a-f]{8}(_template)?")


def new_name() -> str:
    """A name for a database that nobody else has; it tells when it was made."""
    return f"hub_test_{int(time.time()):08x}_{uuid4().hex[:8]}"


async def sweep() -> None:
    """Drop what the tests of long ago have left behind, because their process was killed."""
    made_before = time.time() - LEFT_BEHIND_S
    connection = await connect_to("")
    try:
        names = [row[0] for row in await connection.fetch("SELECT datname FROM pg_database WHERE NOT datistemplate")]
        left = [name for name in names if (found := _NAME.fullmatch(name)) and int(found[1], 16) < made_before]
        for name in left[:SWEPT_MAX]:
            # Somebody who looks into it, or sweeps too, keeps it: the next run will do.
            with suppress(asyncpg.PostgresError):
                await connection.execute(f"DROP DATABASE IF EXISTS {name}")
    finally:
        await connection.close()


def address_of(database: str) -> str:
    """The address of a database on the tests' PostgreSQL, as the hub's settings want it."""
    return normal_database_url(_url_of(database))


async def connect_to(database: str, **options: Any) -> asyncpg.Connection:
    """A plain connection to one database of the server ("": its own). The caller closes it."""
    return await asyncpg.connect(_url_of(database), timeout=CONNECT_S_MAX, **options)


async def make_database(name: str, *, template: str = "") -> None:
    """Create a database whose commits do not wait for the disk: only a crash of the server itself would lose any.

    Tests that crash a server have one of their own.
    """
    await administer(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))
    await administer(f"ALTER DATABASE {name} SET synchronous_commit = off")


async def administer(statement: str) -> None:
    """Run one statement on the server's own database. Skips the test where there is no server and none was named."""
    named = os.environ.get(POSTGRES_VARIABLE)
    try:
        connection = await asyncpg.connect(named or POSTGRES_USUAL, timeout=CONNECT_S_MAX)
    except (OSError, TimeoutError, asyncpg.PostgresError):
        if named:
            raise
        pytest.skip(f"no PostgreSQL at {POSTGRES_USUAL} and none named by {POSTGRES_VARIABLE}")
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _url_of(database: str) -> str:
    server = os.environ.get(POSTGRES_VARIABLE) or POSTGRES_USUAL
    return f"{server.rpartition('/')[0]}/{database}" if database else server
