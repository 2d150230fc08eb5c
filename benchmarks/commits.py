"""The yardstick: how many commits a second this machine's disk and database allow, with one row and with a hundred."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import asyncpg

ROW = b"x" * 550


def sqlite_commits(path: Path, *, seconds: float, rows: int) -> float:
    """Commits a second of one connection, synchronous FULL, ``rows`` rows each."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE IF NOT EXISTS yardstick (id INTEGER PRIMARY KEY, body BLOB)")
    commits = 0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO yardstick (body) VALUES (?)", [(ROW,)] * rows)
        connection.execute("COMMIT")
        commits += 1
    connection.close()
    return commits / seconds


async def postgres_commits(url: str, *, seconds: float, rows: int) -> float:
    """Commits a second of one connection with fsync and synchronous_commit on, ``rows`` rows each."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("CREATE TABLE IF NOT EXISTS yardstick (id bigserial PRIMARY KEY, body bytea)")
        commits = 0
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            async with connection.transaction():
                await connection.executemany("INSERT INTO yardstick (body) VALUES ($1)", [(ROW,)] * rows)
            commits += 1
        return commits / seconds
    finally:
        await connection.close()


async def postgres_durability(url: str) -> dict[str, str]:
    """The settings on which the figure depends. Raises RuntimeError when a commit need not be on the disk."""
    connection = await asyncpg.connect(url)
    try:
        found = {name: await connection.fetchval(f"SHOW {name}") for name in ("fsync", "synchronous_commit")}
    finally:
        await connection.close()
    if set(found.values()) != {"on"}:
        raise RuntimeError(f"PostgreSQL must run with fsync and synchronous_commit on, found {found}")
    return found
