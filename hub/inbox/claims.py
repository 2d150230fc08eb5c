"""Claiming an id after verification: an event from an unproven sender holds none until a handler has proven it.

The claim lives in ``identities``, for ever, and belongs to the transaction of the delivery that makes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.store import tables as t
from hub.store.upserts import insert_for


@dataclass(frozen=True, slots=True)
class Claim:
    """Who holds an id: ``event_id``. ``is_ours``: this event, now or before; ``is_same``: with the same content."""

    event_id: UUID
    is_ours: bool
    is_same: bool


async def claim(conn: AsyncConnection, id_hash: bytes, same_hash: bytes, event_id: UUID) -> Claim:
    """Take this identity, unless somebody has it."""
    new = insert_for(conn.dialect.name, t.identities).on_conflict_do_nothing()
    await conn.execute(new, [{"id_hash": id_hash, "same_hash": same_hash, "event_id": event_id}])
    # A statement of its own: it sees what another transaction committed while this one waited for it.
    holder = (await conn.execute(select(t.identities).where(t.identities.c.id_hash == id_hash))).one()
    return Claim(holder.event_id, holder.event_id == event_id, holder.same_hash == same_hash)
