"""Deliveries that are done, but whose result a person must look at, such as money that nobody could place."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.clock import Clock
from hub.errors import UsageError
from hub.event import route_id_of
from hub.operate.acting import record
from hub.operate.lookup import LIMIT, bounded, find_target, route_names
from hub.store import tables as t
from hub.store.store import Store

_r, _i = t.reviews, t.inbox


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """One result to be looked at, and what a person said about it."""

    delivery_id: int
    event_id: UUID
    source: str
    type: str
    route: str
    outcome: str
    reason: str
    state: str
    created_at: datetime
    resolved_at: datetime | None
    resolved_by: str | None
    note: str | None


async def list_reviews(
    store: Store,
    *,
    state: Literal["open", "resolved"] | None = "open",
    outcome: str | None = None,
    after: int = 0,
    limit: int = LIMIT,
) -> list[Review]:
    """Reviews, oldest first, from behind delivery ``after`` on; ``state=None`` gives the resolved ones too."""
    query = (
        select(_r, _i.c.source, _i.c.type)
        .join(_i, _i.c.id == _r.c.event_id)
        .where(_r.c.delivery_id > after)
        .order_by(_r.c.delivery_id)
        .limit(bounded(limit))
    )
    if state is not None:
        query = query.where(_r.c.state == state)
    if outcome is not None:
        query = query.where(_r.c.outcome == outcome)
    async with store.reading() as conn:
        names = await route_names(conn)
        rows = list(await conn.execute(query))
    return [Review(**(dict(row._mapping) | {"route": names.get(route_id_of(row.delivery_id), "")})) for row in rows]


async def resolve_review(store: Store, clock: Clock, target: str, *, actor: str, note: str) -> list[int]:
    """Close the open reviews of an event, or of one delivery by its number; returns the deliveries' numbers.

    Nothing is run or posted. Raises UsageError when none is open, or without a note.
    """
    if not note.strip():
        raise UsageError("expected a note that says how it was resolved, found none")

    async def work(conn: AsyncConnection) -> list[int]:
        found = await find_target(conn, target)
        ids = [row.id for row in found.rows]
        values = {"state": "resolved", "resolved_at": clock.now(), "resolved_by": actor, "note": note}
        closing = update(_r).where(_r.c.delivery_id.in_(ids), _r.c.state == "open").values(values)
        closed = list((await conn.scalars(closing.returning(_r.c.delivery_id))).all())
        if not closed:
            raise UsageError(f"no review of event {found.event_id} is open")
        await record(conn, clock, actor=actor, action="review.resolve", target=found.event_id, reason=note)
        return sorted(closed)

    return await store.write(work)
