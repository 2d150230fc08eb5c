"""Writing drafts into the inbox, inside a transaction that the caller commits.

Every way in ends here: webhooks, queues, commands, timers, schedules, events emitted by handlers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.event import Event, chain_of, delivery_id_of, uuid7
from hub.inbox.draft import Draft
from hub.inbox.received import Accepted, Kind
from hub.store import tables as t
from hub.store.sequences import draw
from hub.store.upserts import insert_for

UNREADABLE_ROUTE_ID = 0
"""The pseudo route whose deliveries are the events that could not be read."""


async def store_drafts(
    conn: AsyncConnection, drafts: Sequence[Draft], *, route_ids: Mapping[str, int], now: datetime, slot: int = 0
) -> list[tuple[Accepted, Event]]:
    """Store new events with their deliveries, and repeats as duplicates or conflicts; answers in the given order.

    The events come back with their number. Nothing is committed here.
    """
    # Drawn before the identities are inserted, which may have to wait for another acceptor: order of arrival counts.
    numbers = await draw(conn, "inbox_seq", len(drafts))
    holders = await _claim(conn, drafts)
    answers: list[tuple[Accepted, Event]] = []
    fresh: list[Draft] = []
    repeats: list[tuple[Draft, Accepted]] = []
    for draft, number in zip(drafts, numbers, strict=True):
        holder = holders.get(draft.id_hash) if draft.id_hash is not None else None
        if holder is None or holder.event_id == draft.event.id:
            stored = replace(draft, event=replace(draft.event, seq=number))
            fresh.append(stored)
            kind: Kind = "unreadable" if draft.problem else "event"
            answers.append((Accepted(kind, draft.event.id, draft.problem), stored.event))
        else:
            answer = Accepted(_kind_of_repeat(draft, holder), holder.event_id, draft.problem)
            repeats.append((draft, answer))
            answers.append((answer, draft.event))
    await _insert_events(conn, fresh)
    await insert_deliveries(conn, fresh, route_ids)
    await _insert_repeats(conn, repeats, now)
    await _count(conn, drafts, slot)
    return answers


async def store_reread(conn: AsyncConnection, draft: Draft, route_ids: Mapping[str, int]) -> UUID | None:
    """An accepted event that can be read only now, after a correction: claim its identity and make its deliveries.

    ``draft`` carries the stored event's own id and number. Answers with the event that holds the identity when that is
    another one; then nothing was written.
    """
    holders = await _claim(conn, [draft])
    holder = holders.get(draft.id_hash) if draft.id_hash is not None else None
    if holder is not None and holder.event_id != draft.event.id:
        return holder.event_id
    row = _event_row(draft)
    read = ("type", "key", "after", "dedupe_id", "occurred_at", "problem", "matches")
    await conn.execute(
        update(t.inbox).where(t.inbox.c.seq == draft.event.seq).values({name: row[name] for name in read})
    )
    await insert_deliveries(conn, [draft], route_ids)
    return None


@dataclass(frozen=True, slots=True)
class _Holder:
    event_id: UUID
    same_hash: bytes


def _kind_of_repeat(draft: Draft, holder: _Holder) -> Kind:
    if draft.same_hash != holder.same_hash:
        return "conflict"
    # An unreadable body that comes again is answered as the first one was.
    return "unreadable" if draft.problem else "duplicate"


async def _claim(conn: AsyncConnection, drafts: Sequence[Draft]) -> dict[bytes, _Holder]:
    """Who holds each identity. Inserted in sorted order, so that two acceptors never wait for each other in a ring."""
    claims: dict[bytes, Draft] = {}
    for draft in drafts:
        if draft.id_hash is not None:
            claims.setdefault(draft.id_hash, draft)
    if not claims:
        return {}
    rows = [
        {"id_hash": id_hash, "same_hash": claims[id_hash].same_hash, "event_id": claims[id_hash].event.id}
        for id_hash in sorted(claims)
    ]
    claim = insert_for(conn.dialect.name, t.identities).on_conflict_do_nothing().returning(t.identities.c.id_hash)
    won = {row[0] for row in await conn.execute(claim, rows)}
    holders = {id_hash: _Holder(claims[id_hash].event.id, claims[id_hash].same_hash) for id_hash in won}
    lost = [id_hash for id_hash in claims if id_hash not in won]
    if lost:
        query = select(t.identities).where(t.identities.c.id_hash.in_(lost))
        holders |= {row.id_hash: _Holder(row.event_id, row.same_hash) for row in await conn.execute(query)}
    return holders


async def _insert_events(conn: AsyncConnection, drafts: Sequence[Draft]) -> None:
    if not drafts:
        return
    await conn.execute(insert(t.inbox), [_event_row(draft) for draft in drafts])


def _event_row(draft: Draft) -> dict[str, Any]:
    event = draft.event
    return {
        "seq": event.seq,
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "key": event.key,
        "after": list(event.after),
        "dedupe_id": event.dedupe_id,
        "routing_key": event.routing_key,
        "message_id": event.message_id,
        "occurred_at": event.occurred_at,
        "received_at": event.received_at,
        "content_type": event.content_type,
        "payload": event.payload,
        "headers": dict(event.headers),
        "traceparent": event.traceparent,
        "verdict": str(event.verdict),
        "hops": event.hops,
        "problem": draft.problem or None,
        "matches": len(draft.matches),
    }


async def insert_deliveries(conn: AsyncConnection, drafts: Sequence[Draft], route_ids: Mapping[str, int]) -> None:
    """One delivery for each match of these events, which carry their numbers; none of the pairs may be there yet."""
    rows: list[dict[str, Any]] = []
    barriers: list[dict[str, Any]] = []
    for draft in drafts:
        if draft.problem:
            rows.append(_delivery_row(draft.event, UNREADABLE_ROUTE_ID, state="parked", reason=draft.problem))
        for match in draft.matches:
            row = _delivery_row(draft.event, route_ids[match.route.name], unsure=match.error is not None)
            rows.append(row)
            if row["barrier"]:
                barriers += _barrier_rows(draft.event, row)
    if rows:
        await conn.execute(insert(t.deliveries), rows)
    if barriers:
        await conn.execute(insert(t.barriers), barriers)


def _delivery_row(
    event: Event, route_id: int, *, state: str = "ready", reason: str | None = None, unsure: bool = False
) -> dict[str, Any]:
    return {
        "id": delivery_id_of(event.seq, route_id),
        "event_seq": event.seq,
        "event_id": event.id,
        "route_id": route_id,
        "lane": event.lane,
        "chain": chain_of(route_id, event.chain_key),
        "barrier": bool(event.after),
        "unsure": unsure,
        "state": state,
        "attempts": 0,
        "reason": reason,
    }


def _barrier_rows(event: Event, delivery: Mapping[str, Any]) -> list[dict[str, Any]]:
    keys = {event.chain_key, *event.after}
    return [{"chain": chain_of(delivery["route_id"], key), "delivery_id": delivery["id"]} for key in sorted(keys)]


async def _insert_repeats(conn: AsyncConnection, repeats: Sequence[tuple[Draft, Accepted]], now: datetime) -> None:
    duplicates = [_duplicate_row(draft, answer, now) for draft, answer in repeats if answer.kind != "conflict"]
    conflicts = [_conflict_row(draft, answer, now) for draft, answer in repeats if answer.kind == "conflict"]
    if duplicates:
        await conn.execute(insert(t.duplicates), duplicates)
    if conflicts:
        await conn.execute(insert(t.conflicts), conflicts)


def _duplicate_row(draft: Draft, answer: Accepted, now: datetime) -> dict[str, Any]:
    return {"id": uuid7(), "source": draft.event.source, "event_id": answer.event_id, "received_at": now}


def _conflict_row(draft: Draft, answer: Accepted, now: datetime) -> dict[str, Any]:
    return _duplicate_row(draft, answer, now) | {
        "content_type": draft.event.content_type,
        "payload": draft.event.payload,
        "headers": dict(draft.event.headers),
        "state": "open",
    }


async def _count(conn: AsyncConnection, drafts: Sequence[Draft], slot: int) -> None:
    """Count what came apart from the rows it made, so that the counting equation can find a lost one."""
    counts = Counter(draft.event.source for draft in drafts)
    rows = [{"source": source, "slot": slot, "received": counts[source]} for source in sorted(counts)]
    added = insert_for(conn.dialect.name, t.received_totals)
    total = t.received_totals.c.received + added.excluded.received
    await conn.execute(added.on_conflict_do_update(index_elements=["source", "slot"], set_={"received": total}), rows)
