"""Parked messages: what a person sees and may do. Either way the chain behind goes on by itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.clock import Clock
from hub.errors import UsageError
from hub.operate.acting import record
from hub.outbox.marks import lift_behind, release
from hub.ownership.announcing import announce
from hub.ownership.holding import RELAY
from hub.store import tables as t
from hub.store.store import Store
from hub.store.tables import in_state

PARKED_LIST_MAX = 100

_o, _b = t.outbox, t.outbox_blocked


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedMessage:
    """A message that cannot be sent as things are. ``behind`` counts those of its chain that wait for it."""

    seq: int
    message_id: str
    event_id: UUID
    destination: str
    routing_key: str
    key: str | None
    reason: str
    attempts: int
    created_at: datetime
    behind: int


async def parked_messages(
    store: Store, *, destination: str | None = None, after_seq: int = 0, limit: int = PARKED_LIST_MAX
) -> list[ParkedMessage]:
    """Parked messages in order of their number, from behind ``after_seq`` on."""
    waiting = _o.alias("waiting")
    behind = (
        select(func.count())
        .where(waiting.c.chain == _o.c.chain, in_state(waiting, "waiting", "parked"), waiting.c.seq > _o.c.seq)
        .correlate(_o)
        .scalar_subquery()
        .label("behind")
    )
    query = (
        select(_o, behind)
        .join(_b, _b.c.chain == _o.c.chain)
        .where(_b.c.state == "parked", in_state(_o, "parked"), in_state(_o, "waiting", "parked"), _o.c.seq > after_seq)
    )
    if destination is not None:
        query = query.where(_o.c.destination == destination)
    async with store.reading() as conn:
        rows = (await conn.execute(query.order_by(_o.c.seq).limit(limit))).all()
    return [
        ParkedMessage(
            seq=row.seq,
            message_id=row.message_id,
            event_id=row.event_id,
            destination=row.destination,
            routing_key=row.routing_key,
            key=row.key,
            reason=row.reason or "",
            attempts=row.attempts,
            created_at=row.created_at,
            behind=row.behind,
        )
        for row in rows
    ]


async def retry_message(store: Store, clock: Clock, seq: int, *, actor: str, reason: str = "") -> int:
    """Send a parked message again under its own id, and what waits behind it after it.

    Returns its lane, for a relay in this process to be told. Raises UsageError when it is not parked.
    """
    return await _act(store, clock, seq, "retry", actor=actor, reason=reason)


async def discard_message(store: Store, clock: Clock, seq: int, *, actor: str, reason: str = "") -> int:
    """Give a parked message up for good; what waits behind it goes on.

    Returns its lane, for a relay in this process to be told. Raises UsageError when it is not parked.
    """
    return await _act(store, clock, seq, "discard", actor=actor, reason=reason)


async def _act(
    store: Store, clock: Clock, seq: int, action: Literal["retry", "discard"], *, actor: str, reason: str
) -> int:
    async def work(conn: AsyncConnection) -> int:
        row = (await conn.execute(select(_o.c.chain, _o.c.lane).where(_o.c.seq == seq))).one_or_none()
        if row is None:
            raise UsageError(f"there is no message {seq} in the outbox")
        # The chain first, as the relay does: two who act on it take turns.
        await conn.execute(select(_b.c.chain).where(_b.c.chain == row.chain).with_for_update())
        changed = await conn.execute(
            update(_o)
            .where(_o.c.seq == seq, _o.c.state == "parked")
            .values(state="waiting" if action == "retry" else "discarded")
        )
        if changed.rowcount != 1:
            raise UsageError(f"message {seq} is not parked, so there is nothing to {action}")
        if action == "discard":
            await lift_behind(conn, [seq])
        await release(conn, [row.chain], now=clock.now())
        await record(conn, clock, actor=actor, action=f"message.{action}", target=f"outbox/{seq}", reason=reason)
        lane: int = row.lane
        await announce(conn, RELAY, [lane])
        return lane

    return await store.write(work)
