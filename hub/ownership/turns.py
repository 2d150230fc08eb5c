"""Transactions of one worker that must not be under way side by side, although all of them hold its fence."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.ownership.holding import DELIVER, Kind
from hub.store.store import Fence


async def wait_for_earlier(conn: AsyncConnection, fence: Fence, kind: Kind) -> None:
    """Wait for a transaction of this worker whose commit is still under way on a connection that was lost.

    What it wrote would be read here as if it had not happened, and be done a second time. The fence does not exclude
    it: both hold it in share mode. The lock goes with the transaction, so that a pooler does not matter.
    """
    if conn.dialect.name == "postgresql":
        key = (fence.worker_id.int >> 65) + (kind != DELIVER)
        await conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
