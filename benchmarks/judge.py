"""Was the run correct? Plain SQL over the database that the hub has left; a wrong run has no figure."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path

import asyncpg

QUERIES: Mapping[str, str] = {
    "events": "SELECT count(*) FROM inbox",
    "duplicates": "SELECT count(*) FROM duplicates",
    "entries": "SELECT count(*) FROM entries",
    "moves": "SELECT count(*) FROM moves",
    "done": "SELECT count(*) FROM deliveries WHERE state = 'done'",
    "open": "SELECT count(*) FROM deliveries WHERE state <> 'done'",
    "outbox": "SELECT count(*) FROM outbox",
    "sent": "SELECT count(*) FROM outbox WHERE state = 'sent'",
    "arrived": "SELECT count(DISTINCT message_id) FROM local_messages",
    "balances": "SELECT coalesce(sum(abs(b.balance)), 0) FROM balances b JOIN accounts a ON a.id = b.account_id"
    " WHERE a.running",
    "posted": "SELECT coalesce(sum(amount), 0) FROM moves",
}


def read_sqlite(path: Path) -> dict[str, int]:
    """What the SQLite database holds."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    found = {name: int(connection.execute(query).fetchone()[0]) for name, query in QUERIES.items()}
    connection.close()
    return found


async def read_postgres(url: str) -> dict[str, int]:
    """What the PostgreSQL database holds."""
    connection = await asyncpg.connect(url)
    try:
        return {
            name: int(await connection.fetchval(query.replace("a.running", "a.running IS TRUE")))
            for name, query in QUERIES.items()
        }
    finally:
        await connection.close()


def wrong(found: Mapping[str, int], *, events: int, repeats: int) -> list[str]:
    """Everything in which the run was not what it should be."""
    expected = {
        "events": events,
        "duplicates": repeats,
        "entries": events,
        "moves": events,
        "done": events,
        "open": 0,
        "outbox": events,
        "sent": events,
        "arrived": events,
        "balances": found["posted"],
    }
    return [
        f"{name}: expected {number}, found {found[name]}" for name, number in expected.items() if found[name] != number
    ]
