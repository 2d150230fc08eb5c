"""Messages under the identity of another one, with other content: kept whole until a person has decided."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Row, Select, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.clock import Clock
from hub.errors import UsageError
from hub.operate.acting import record
from hub.operate.lookup import LIMIT, bounded, find_id
from hub.store import tables as t
from hub.store.store import Store

_c = t.conflicts


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """One copy. ``event_id`` is the event that was accepted under this identity; ``show_event`` shows both."""

    id: UUID
    event_id: UUID
    source: str
    received_at: datetime
    payload_bytes: int
    state: str
    resolved_by: str | None
    note: str | None


async def list_conflicts(
    store: Store,
    *,
    state: Literal["open", "resolved"] | None = "open",
    source: str | None = None,
    after: UUID | None = None,
    limit: int = LIMIT,
) -> list[Conflict]:
    """Conflicts, oldest first, from behind ``after`` on; ``state=None`` gives the resolved ones too."""
    query = _conflicts().order_by(_c.c.id).limit(bounded(limit))
    if state is not None:
        query = query.where(_c.c.state == state)
    if source is not None:
        query = query.where(_c.c.source == source)
    if after is not None:
        query = query.where(_c.c.id > after)
    async with store.reading() as conn:
        return [_conflict(row) for row in await conn.execute(query)]


async def find_conflict(store: Store, conflict_id: UUID) -> Conflict:
    """One conflict, open or resolved. Raises UsageError when there is none."""
    async with store.reading() as conn:
        row = (await conn.execute(_conflicts().where(_c.c.id == conflict_id))).first()
    if row is None:
        raise UsageError(f"there is no conflict {conflict_id}")
    return _conflict(row)


async def resolve_conflict(store: Store, clock: Clock, conflict: str, *, actor: str, note: str) -> UUID:
    """Close one conflict by its id or the beginning of it: it was decided what holds. Nothing is run.

    Raises UsageError when it is not open, or without a note.
    """
    if not note.strip():
        raise UsageError("expected a note that says what was decided, found none")

    async def work(conn: AsyncConnection) -> UUID:
        conflict_id = await find_id(conn, _c.c.id, conflict, what="conflict")
        values = {"state": "resolved", "resolved_by": actor, "note": note}
        closing = update(_c).where(_c.c.id == conflict_id, _c.c.state == "open").values(values)
        event_id: UUID | None = await conn.scalar(closing.returning(_c.c.event_id))
        if event_id is None:
            raise UsageError(f"conflict {conflict_id} is resolved already")
        await record(conn, clock, actor=actor, action="conflict.resolve", target=event_id, reason=note)
        return conflict_id

    return await store.write(work)


def _conflicts() -> Select[Any]:
    return select(_c, func.length(_c.c.payload).label("payload_bytes"))


def _conflict(row: Row[Any]) -> Conflict:
    return Conflict(**{name: row._mapping[name] for name in Conflict.__dataclass_fields__})
