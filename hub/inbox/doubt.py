"""Events whose message has no id, and whose acknowledgement may not have reached the broker.

Such a message may be handed out again, and nothing but its content could tell. Only while that is possible is it
recognised by its content, and each of these events absorbs the one message that may be its repeat: two messages with
the same bytes (delete, restore, delete of a card) are two events. What may come again is the last handing out, in
another session, flagged by the broker; or the very same one, when a batch is stored once more.
Source: docs/guarantees.md, G2; docs/rabbitmq.md, "Messages without an id".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import ColumnElement, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.event import stable_hash
from hub.inbox.received import Received
from hub.transports.base import HandedOut
from hub.transports.tables import unproven as u

if TYPE_CHECKING:
    from hub.inbox.draft import Draft

WINDOW = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Doubt:
    """What stands in for the id that a message lacks. ``redelivered``: by the broker, or in a batch stored again."""

    queue: str
    content_hash: bytes
    handed_out: HandedOut
    redelivered: bool


def doubt_of(received: Received) -> Doubt | None:
    """None where the queue itself tells a repeat from a new message, or where it was no queue."""
    if not received.unsure_queue or received.handed_out is None:
        return None
    content = stable_hash("content", received.routing_key, received.body)
    return Doubt(received.unsure_queue, content, received.handed_out, received.redelivered)


async def absorb(conn: AsyncConnection, drafts: Iterable[Draft], now: datetime) -> dict[UUID, UUID]:
    """Which of these are repeats, by their own event id, and of which events."""
    repeats: dict[UUID, UUID] = {}
    together: dict[tuple[UUID, int], UUID] = {}
    for draft in drafts:
        doubt = draft.doubt
        if doubt is None:
            continue
        # A batch that is given again may meet its first giving in one group, before any of them has a row.
        place = (doubt.handed_out.session, doubt.handed_out.number)
        first = together.get(place)
        if first is None and doubt.redelivered:
            first = await _take(conn, doubt, now)
        if first is not None:
            repeats[draft.event.id] = first
        together.setdefault(place, first or draft.event.id)
    return repeats


async def _take(conn: AsyncConnection, doubt: Doubt, now: datetime) -> UUID | None:
    """The event whose repeat this is, which from now on waits for the repeat of this handing out."""
    here = doubt.handed_out
    found = await _first(conn, doubt, (u.c.session == here.session) & (u.c.number == here.number), now)
    if found is None and here.is_flagged:
        # What came in this same session was not handed out again: this is another message that looks like it.
        found = await _first(conn, doubt, u.c.session.is_(None) | (u.c.session != here.session), now)
    return found


async def _first(conn: AsyncConnection, doubt: Doubt, which: ColumnElement[bool], now: datetime) -> UUID | None:
    oldest = (
        select(u.c.event_id)
        .where(u.c.queue == doubt.queue, u.c.content_hash == doubt.content_hash, u.c.accepted_at > now - WINDOW, which)
        .order_by(u.c.accepted_at, u.c.event_id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    here = {"session": doubt.handed_out.session, "number": doubt.handed_out.number}
    armed = update(u).where(u.c.event_id == oldest.scalar_subquery()).values(here).returning(u.c.event_id)
    event_id: UUID | None = (await conn.execute(armed)).scalar_one_or_none()
    return event_id


async def remember(conn: AsyncConnection, drafts: Sequence[Draft], now: datetime) -> None:
    """These are new, and not yet acknowledged."""
    rows = [
        {
            "event_id": draft.event.id,
            "queue": draft.doubt.queue,
            "content_hash": draft.doubt.content_hash,
            "accepted_at": now,
            "session": draft.doubt.handed_out.session,
            "number": draft.doubt.handed_out.number,
        }
        for draft in drafts
        if draft.doubt is not None
    ]
    if rows:
        await conn.execute(insert(u), rows)


async def forget(conn: AsyncConnection, queue: str, proven: Collection[HandedOut], now: datetime) -> None:
    """The broker has the acknowledgement of these: whatever it hands out from now on is another message.

    An event that has absorbed a repeat since waits for the proof of that one.
    """
    await conn.execute(delete(u).where(u.c.queue == queue, u.c.accepted_at <= now - WINDOW))
    numbers: defaultdict[UUID, list[int]] = defaultdict(list)
    for one in proven:
        numbers[one.session].append(one.number)
    for session in sorted(numbers):
        await conn.execute(delete(u).where(u.c.session == session, u.c.number.in_(numbers[session])))
