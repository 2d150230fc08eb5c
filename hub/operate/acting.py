"""What every action of an operator does besides its own work: take turns with the worker, and go on record."""

from __future__ import annotations

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.clock import Clock
from hub.errors import UsageError
from hub.store import tables as t

REASON_CHARS_MAX = 2_000


async def take_turn(conn: AsyncConnection) -> None:
    """Wait until no worker's transaction is under way, and keep the next one out until this one has committed.

    A worker may be about to let a delivery wait behind the very chain that is released here; it would wait for ever.
    Each of its transactions holds its fence row in share mode, so that taking the row exclusively is enough. On SQLite
    the clause is dropped and nothing is needed: there is one writer.
    """
    running = select(t.workers.c.id).where(t.workers.c.state == "running").order_by(t.workers.c.id)
    await conn.execute(running.with_for_update())


async def record(conn: AsyncConnection, clock: Clock, *, actor: str, action: str, target: object, reason: str) -> None:
    """Write down who did what to what, and why."""
    if not actor.strip():
        raise UsageError("expected the name of who does this, found none")
    row = {
        "id": clock.new_id(),
        "at": clock.now(),
        "actor": actor.strip(),
        "action": action,
        "target": str(target),
        "reason": reason[:REASON_CHARS_MAX],
    }
    await conn.execute(insert(t.operations), [row])
