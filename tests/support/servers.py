"""The PostgreSQL server of the tests: where it is, and statements on it that belong to no database of a test."""

from __future__ import annotations

import os
from typing import Any

import asyncpg
import pytest

from hub.settings import normal_database_url

POSTGRES_VARIABLE = "HUB_TEST_POSTGRES_URL"
POSTGRES_USUAL = "postgresql://root@127.0.0.1:5432/test"
CONNECT_S_MAX = 60.0


def address_of(database: str) -> str:
    """The address of a database on the tests' PostgreSQL, as the hub's settings want it."""
    return normal_database_url(_url_of(database))


async def connect_to(database: str, **options: Any) -> asyncpg.Connection:
    """A plain connection to one database of the server. The caller closes it."""
    return await asyncpg.connect(_url_of(database), timeout=CONNECT_S_MAX, **options)


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
    return f"{server.rpartition('/')[0]}/{database}"
