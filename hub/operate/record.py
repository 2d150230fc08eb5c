"""What people did, as it was written down; nothing of it is ever changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import and_, or_, select

from hub.operate.lookup import LIMIT, bounded
from hub.store import tables as t
from hub.store.store import Store

_o = t.operations


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """Who did what to what, when and why. ``target`` is an event's id, or a kind and a name such as ``route/NAME``."""

    id: UUID
    at: datetime
    actor: str
    action: str
    target: str
    reason: str

    @property
    def is_of_event(self) -> bool:
        """Whether the target is an event."""
        try:
            UUID(self.target)
        except ValueError:
            return False
        return True


async def list_operations(
    store: Store,
    *,
    actor: str | None = None,
    action: str | None = None,
    target: str | None = None,
    before: tuple[datetime, UUID] | None = None,
    limit: int = LIMIT,
) -> list[Operation]:
    """The newest first, those before the one with this time and id."""
    query = select(_o).order_by(_o.c.at.desc(), _o.c.id.desc()).limit(bounded(limit))
    for column, value in ((_o.c.actor, actor), (_o.c.action, action), (_o.c.target, target)):
        if value is not None:
            query = query.where(column == value)
    if before is not None:
        at, id_ = before
        query = query.where(or_(_o.c.at < at, and_(_o.c.at == at, _o.c.id < id_)))
    async with store.reading() as conn:
        return [Operation(**row._mapping) for row in await conn.execute(query)]
