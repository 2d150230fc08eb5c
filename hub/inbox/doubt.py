"""Events whose message has no id, and whose acknowledgement may not have reached the broker.

Such a message may be handed out again, and nothing but its content could tell. Only while that is possible is it
recognised by its content, and each of these events absorbs one message that the broker flags as redelivered: two
messages with the same bytes (delete, restore, delete of a card) are two events.
Source: docs/guarantees.md, G2; docs/rabbitmq.md, "Messages without an id".
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.event import stable_hash
from hub.inbox.received import Received
from hub.transports.tables import unproven as u

if TYPE_CHECKING:
    from hub.inbox.draft import Draft

WINDOW = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Doubt:
    """What stands in for the id that a message lacks."""

    queue: str
    content_hash: bytes
    redelivered: bool


def doubt_of(received: Received) -> Doubt | None:
    """None where the queue itself tells a repeat from a new message, or where it was no queue."""
    if not received.unsure_queue:
        return None
    content = stable_hash("content", received.routing_key, received.body)
    return Doubt(received.unsure_queue, content, received.redelivered)


async def absorb(conn: AsyncConnection, drafts: Iterable[Draft], now: datetime) -> dict[UUID, UUID]:
    """Which of these are repeats, by their own event id, and of which events. Each of those absorbs no further one."""
    repeats: dict[UUID, UUID] = {}
    for draft in drafts:
        if draft.doubt is not None and draft.doubt.redelivered:
            first = await _take(conn, draft.doubt, now)
            if first is not None:
                repeats[draft.event.id] = first
    return repeats


async def _take(conn: AsyncConnection, doubt: Doubt, now: datetime) -> UUID | None:
    oldest = (
        select(u.c.event_id)
        .where(u.c.queue == doubt.queue, u.c.content_hash == doubt.content_hash, u.c.accepted_at > now - WINDOW)
        .order_by(u.c.accepted_at, u.c.event_id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    mine = delete(u).where(u.c.event_id == oldest.scalar_subquery()).returning(u.c.event_id)
    return (await conn.execute(mine)).scalar_one_or_none()


async def remember(conn: AsyncConnection, drafts: Sequence[Draft], now: datetime) -> None:
    """These are new, and not yet acknowledged."""
    rows = [
        {
            "event_id": draft.event.id,
            "queue": draft.doubt.queue,
            "content_hash": draft.doubt.content_hash,
            "accepted_at": now,
        }
        for draft in drafts
        if draft.doubt is not None
    ]
    if rows:
        await conn.execute(insert(u), rows)


async def forget(conn: AsyncConnection, queue: str, event_ids: Collection[UUID], now: datetime) -> None:
    """The broker has the acknowledgement of these: whatever it hands out from now on is another message."""
    is_old = (u.c.queue == queue) & (u.c.accepted_at <= now - WINDOW)
    await conn.execute(delete(u).where(u.c.event_id.in_(event_ids) | is_old))
