"""Looking into the embedded queues, and acknowledging by hand: what ``hub queue`` and other programs use."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.errors import UsageError
from hub.routing.fields import nearest
from hub.store import tables as t
from hub.store.store import Store
from hub.transports.base import QueuedMessage, QueueInfo

DEFAULT_EXCHANGE = ""
"""Every queue is bound to it by its own name, as in AMQP; that row is how a queue without other bindings exists."""
ACK_CHUNK = 1_000

_m, _b = t.local_messages, t.local_bindings


class LocalQueues:
    """The queues of the embedded broker, read without consuming them."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def queue_list(self) -> list[QueueInfo]:
        """Every queue that is declared or still holds messages, by name. Counting walks over the messages' index."""
        totals = select(_m.c.queue, func.count().label("messages"), func.min(_m.c.id).label("first")).group_by(
            _m.c.queue
        )
        async with self._store.reading() as conn:
            declared = set(await conn.scalars(select(_b.c.queue).distinct()))
            counted = {row.queue: row for row in await conn.execute(totals)}
            firsts = select(_m.c.queue, _m.c.published_at).where(_m.c.id.in_([row.first for row in counted.values()]))
            oldest: dict[str, datetime] = {row.queue: row.published_at for row in await conn.execute(firsts)}
        return [
            QueueInfo(
                name=name,
                messages=counted[name].messages if name in counted else 0,
                oldest_at=oldest.get(name),
                is_declared=name in declared,
            )
            for name in sorted(declared | set(counted))
        ]

    async def queue_read(self, name: str, *, limit: int, after_id: int = 0) -> list[QueuedMessage]:
        """The first ``limit`` messages behind ``after_id``, which stay in the queue.

        To follow a queue, ask again with the last ``id``: a message never appears behind one that was already seen.
        Raises UsageError, with the nearest name, for a queue that is not known.
        """
        await self._known(name)
        query = select(_m).where(_m.c.queue == name, _m.c.id > after_id).order_by(_m.c.id).limit(limit)
        async with self._store.reading() as conn:
            rows = (await conn.execute(query)).all()
        return [
            QueuedMessage(
                id=row.id,
                message_id=row.message_id,
                routing_key=row.routing_key,
                content_type=row.content_type,
                payload=row.payload,
                headers=row.headers,
                published_at=row.published_at,
                deliveries=row.deliveries,
            )
            for row in rows
        ]

    async def queue_ack(self, name: str, message_ids: Sequence[str]) -> list[str]:
        """Remove exactly these messages. The answer lists those that were there, so that repeating is harmless.

        Raises UsageError for a queue that is not known.
        """
        await self._known(name)

        async def work(conn: AsyncConnection) -> set[str]:
            gone: set[str] = set()
            for start in range(0, len(message_ids), ACK_CHUNK):
                mine = _m.c.message_id.in_(message_ids[start : start + ACK_CHUNK])
                gone |= set(await conn.scalars(delete(_m).where(_m.c.queue == name, mine).returning(_m.c.message_id)))
            return gone

        gone = await self._store.write(work)
        return [message_id for message_id in dict.fromkeys(message_ids) if message_id in gone]

    async def _known(self, name: str) -> None:
        async with self._store.reading() as conn:
            found = await conn.scalar(select(_b.c.queue).where(_b.c.queue == name).limit(1))
            found = found or await conn.scalar(select(_m.c.queue).where(_m.c.queue == name).limit(1))
            if found is None:
                names = set(await conn.scalars(select(_b.c.queue).distinct()))
                raise UsageError(f"there is no queue {name!r}; {nearest(name, names)}")
