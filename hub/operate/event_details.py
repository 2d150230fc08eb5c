"""Everything about one event: when it came and how it was proven, which routes took it, and all that came of it.

Source: docs/guarantees.md, G7.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Table, select
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.event import ROUTE_BITS, chain_of, route_id_of, trace_id_of
from hub.inbox.corrections import latest_correction
from hub.ledger.read import list_entries
from hub.operate.event_view import (
    AttemptDetails,
    CallDetails,
    ConflictCopy,
    Content,
    Correction,
    DeliveryDetails,
    EventDetails,
    MessageDetails,
    OperationDetails,
    ReviewDetails,
    TimerDetails,
    TracedEvent,
)
from hub.operate.lookup import deliveries_of, find_event, route_names
from hub.operate.masking import Mask, mask_of
from hub.operate.pausing import pauses_of
from hub.operate.states import state_among
from hub.routing import SourceConfig
from hub.store import tables as t
from hub.store.store import Store

PART_MAX = 200
"""How many rows of each sort are shown."""

_d, _i = t.deliveries, t.inbox


async def show_event(
    store: Store,
    event: str,
    sources: Mapping[str, SourceConfig],
    *,
    now: datetime | None = None,
    provider_of: Callable[[str], str | None] = lambda _: None,
) -> EventDetails:
    """Everything about the event with this id, or the beginning of one. Raises UsageError when there is none.

    ``sources`` says what to mask. At most ``PART_MAX`` rows of each sort are read. With ``now``, also what it waits for
    that stands still; ``provider_of`` names the provider that a route's handler calls.
    """
    async with store.reading() as conn:
        details = await details_of(conn, await find_event(conn, event), sources)
        return details if now is None else await _with_pauses(conn, details, now, provider_of)


async def details_of(conn: AsyncConnection, event_id: UUID, sources: Mapping[str, SourceConfig]) -> EventDetails:
    """Everything about an event that is in the tables, as this transaction sees them."""
    row = (await conn.execute(select(_i).where(_i.c.id == event_id))).one()
    return await _details(conn, row, mask_of(row.source, sources))


async def _with_pauses(
    conn: AsyncConnection, details: EventDetails, now: datetime, provider_of: Callable[[str], str | None]
) -> EventDetails:
    routes = {one.route for one in details.deliveries if one.state in t.OPEN_STATES and one.state != "parked"}
    providers = {provider for route in routes if (provider := provider_of(route)) is not None}
    unsent = {one.destination for one in details.messages if one.state in ("ready", "waiting")}
    found = await pauses_of(conn, now, routes=routes, providers=providers, destinations=unsent)
    return replace(details, standing_still=tuple(str(one) for one in found))


async def payload_of(store: Store, event: str, *, corrected: bool = False) -> bytes:
    """The payload byte for byte as it came, nothing masked; with ``corrected`` the latest correction, if there is one.

    Raises UsageError for an unknown event.
    """
    async with store.reading() as conn:
        event_id = await find_event(conn, event)
        found: bytes | None = await conn.scalar(select(latest_correction(event_id))) if corrected else None
        if found is None:
            found = await conn.scalar(select(_i.c.payload).where(_i.c.id == event_id))
    assert found is not None
    return found


async def _details(conn: AsyncConnection, row: Row[Any], mask: Mask) -> EventDetails:
    deliveries = await _deliveries(conn, row)
    return EventDetails(
        id=row.id,
        seq=row.seq,
        source=row.source,
        type=row.type,
        key=row.key,
        after=tuple(row.after),
        dedupe_id=row.dedupe_id,
        routing_key=row.routing_key,
        message_id=row.message_id,
        occurred_at=row.occurred_at,
        received_at=row.received_at,
        content_type=row.content_type,
        headers=mask.headers(row.headers),
        trace_id=trace_id_of(row.traceparent),
        verdict=row.verdict,
        hops=row.hops,
        cause=row.cause,
        problem=row.problem,
        state=state_among(one.state for one in deliveries),
        content=_content(row.payload, mask),
        duplicates=tuple(one.received_at for one in await _of_event(conn, t.duplicates, row.id, "received_at")),
        conflicts=await _conflicts(conn, row.id, mask),
        corrections=await _corrections(conn, row.id, mask),
        deliveries=deliveries,
        postings=tuple(reversed(await list_entries(conn, event_id=row.id, limit=PART_MAX))),
        messages=await _messages(conn, [one.id for one in deliveries]),
        tags=tuple((one.name, one.value) for one in await _of_event(conn, t.tags, row.id, "name", "value")),
        trace=await _trace(conn, row),
        timers=await _timers(conn, row),
        operations=await _operations(conn, row.id),
    )


def _content(payload: bytes, mask: Mask) -> Content:
    return Content(payload_bytes=len(payload), sha256=hashlib.sha256(payload).hexdigest(), text=mask.payload(payload))


async def _of_event(conn: AsyncConnection, table: Table, event_id: UUID, *order: str) -> list[Row[Any]]:
    query = select(table).where(table.c.event_id == event_id).order_by(*(table.c[name] for name in order))
    return list(await conn.execute(query.limit(PART_MAX)))


async def _conflicts(conn: AsyncConnection, event_id: UUID, mask: Mask) -> tuple[ConflictCopy, ...]:
    return tuple(
        ConflictCopy(
            id=one.id,
            received_at=one.received_at,
            content=_content(one.payload, mask),
            state=one.state,
            resolved_by=one.resolved_by,
            note=one.note,
        )
        for one in await _of_event(conn, t.conflicts, event_id, "received_at")
    )


async def _corrections(conn: AsyncConnection, event_id: UUID, mask: Mask) -> tuple[Correction, ...]:
    return tuple(
        Correction(
            number=one.number,
            content=_content(one.payload, mask),
            corrected_by=one.corrected_by,
            reason=one.reason,
            corrected_at=one.corrected_at,
        )
        for one in await _of_event(conn, t.corrections, event_id, "number")
    )


async def _deliveries(conn: AsyncConnection, event: Row[Any]) -> tuple[DeliveryDetails, ...]:
    names = await route_names(conn)
    rows = await deliveries_of(conn, event.id)
    ids = [row.id for row in rows]
    failed = await _of_deliveries(conn, t.attempts, ids, "started_at")
    calls = await _of_deliveries(conn, t.calls, ids, "started_at", "number")
    reviews = {one.delivery_id: one for one in await _of_deliveries(conn, t.reviews, ids)}
    return tuple(
        [
            DeliveryDetails(
                id=row.id,
                route=names.get(row.route_id, str(row.route_id)),
                state=row.state,
                outcome=row.outcome,
                reason=row.reason,
                attempts=row.attempts,
                next_at=row.next_at,
                finished_at=row.finished_at,
                waits_behind=await _obstacle(conn, event, row),
                failed=tuple(_attempt(one) for one in failed if one.delivery_id == row.id),
                calls=tuple(_call(one) for one in calls if one.delivery_id == row.id),
                review=_review(reviews.get(row.id)),
            )
            for row in rows
        ]
    )


async def _of_deliveries(conn: AsyncConnection, table: Table, ids: Sequence[int], *order: str) -> list[Row[Any]]:
    query = select(table).where(table.c.delivery_id.in_(ids)).order_by(*(table.c[name] for name in order))
    return list(await conn.execute(query.limit(PART_MAX)))


def _attempt(row: Row[Any]) -> AttemptDetails:
    return AttemptDetails(started_at=row.started_at, duration_ms=row.duration_ms, error=row.error)


def _call(row: Row[Any]) -> CallDetails:
    return CallDetails(**{field.name: row._mapping[field.name] for field in fields(CallDetails)})


def _review(row: Row[Any] | None) -> ReviewDetails | None:
    if row is None:
        return None
    return ReviewDetails(
        outcome=row.outcome, reason=row.reason, state=row.state, resolved_by=row.resolved_by, note=row.note
    )


async def _obstacle(conn: AsyncConnection, event: Row[Any], delivery: Row[Any]) -> UUID | None:
    """The event that must be done before this delivery may run: the first of its chains that is older and open."""
    if delivery.state not in ("ready", "waiting"):
        return None
    keys = {event.key if event.key is not None else str(event.id), *event.after}
    chains = [delivery.chain, *(chain_of(route_id_of(delivery.id), key) for key in sorted(keys))]
    older = (
        select(_d.c.id)
        .where(_d.c.chain.in_(chains), t.in_state(_d, *t.BEHIND_STATES), _d.c.id < delivery.id)
        .order_by(_d.c.id)
        .limit(1)
    )
    barrier = (
        select(t.barriers.c.delivery_id)
        .where(t.barriers.c.chain.in_(chains), t.barriers.c.delivery_id < delivery.id)
        .order_by(t.barriers.c.delivery_id)
        .limit(1)
    )
    found = [one for one in (await conn.scalar(older), await conn.scalar(barrier)) if one is not None]
    if not found:
        return None
    obstacle: UUID | None = await conn.scalar(select(_i.c.id).where(_i.c.seq == min(found) >> ROUTE_BITS))
    return obstacle


async def _messages(conn: AsyncConnection, delivery_ids: Sequence[int]) -> tuple[MessageDetails, ...]:
    return tuple(
        MessageDetails(
            seq=one.seq,
            message_id=one.message_id,
            destination=one.destination,
            routing_key=one.routing_key,
            state=one.state,
            attempts=one.attempts,
            reason=one.reason,
            payload_bytes=len(one.payload),
            sha256=hashlib.sha256(one.payload).hexdigest(),
            created_at=one.created_at,
            sent_at=one.sent_at,
        )
        for one in await _of_deliveries(conn, t.outbox, delivery_ids, "seq")
    )


async def _trace(conn: AsyncConnection, event: Row[Any]) -> tuple[TracedEvent, ...]:
    """The other events of its trace, in order of acceptance."""
    columns = (_i.c.id, _i.c.seq, _i.c.source, _i.c.type, _i.c.hops, _i.c.cause, _i.c.received_at)
    query = select(*columns).where(_same_trace(event), _i.c.seq != event.seq).order_by(_i.c.seq).limit(PART_MAX)
    return tuple(TracedEvent(**row._mapping) for row in await conn.execute(query))


async def _timers(conn: AsyncConnection, event: Row[Any]) -> tuple[TimerDetails, ...]:
    query = select(t.timers.c.type, t.timers.c.key, t.timers.c.due_at).where(_same_trace(event))
    rows = await conn.execute(query.order_by(t.timers.c.due_at).limit(PART_MAX))
    return tuple(TimerDetails(**row._mapping) for row in rows)


def _same_trace(event: Row[Any]) -> ColumnElement[bool]:
    # The span that follows differs where a sender sent several messages of one trace.
    return t.trace_id == trace_id_of(event.traceparent)


async def _operations(conn: AsyncConnection, event_id: UUID) -> tuple[OperationDetails, ...]:
    query = select(t.operations).where(t.operations.c.target == str(event_id)).order_by(t.operations.c.at)
    return tuple(
        OperationDetails(at=one.at, actor=one.actor, action=one.action, reason=one.reason)
        for one in await conn.execute(query.limit(PART_MAX))
    )
