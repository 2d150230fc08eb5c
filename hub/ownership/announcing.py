"""Telling the owners of lanes with the commit that makes the work: what commands do, which live for one transaction.

The processes of the hub gather such news (``wakeups.py``), so that their commits do not queue for NOTIFY's lock.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.ownership.holding import Kind

CHANNEL = "hub_lanes"


def told(news: dict[str, Iterable[int]]) -> str:
    """What a notification says: lanes of each kind that have work; ``workers`` when something changed among them."""
    return json.dumps({of: sorted(set(lanes)) for of, lanes in news.items()}, separators=(",", ":"))


async def announce(conn: AsyncConnection, kind: Kind, lanes: Iterable[int]) -> None:
    """Say, once this transaction has committed, that these lanes have work. On SQLite the sweep finds it."""
    named = set(lanes)
    if named and conn.dialect.name == "postgresql":
        said = {"channel": CHANNEL, "said": told({kind: named})}
        await conn.execute(text("SELECT pg_notify(:channel, :said)"), said)
