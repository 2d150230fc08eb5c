"""Writing drafts into the inbox, inside a transaction that the caller commits.

Every way in ends here: webhooks, queues, commands, timers, schedules, events emitted by handlers.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.event import Event, chain_of, delivery_id_of, uuid7
from hub.inbox.doubt import absorb, remember
from hub.inbox.draft import Draft
from hub.inbox.received import Accepted, Kind
from hub.store import tables as t
from hub.store.bulk import BulkInsert, Record
from hub.store.direct import Direct
from hub.store.sequences import draw

UNREADABLE_ROUTE_ID = 0
"""The pseudo route whose deliveries are the events that could not be read."""


async def store_drafts(
    conn: AsyncConnection,
    drafts: Sequence[Draft],
    *,
    route_ids: Mapping[str, int],
    now: datetime,
    slot: int = 0,
    counts: bool = True,
) -> list[tuple[Accepted, Event]]:
    """Store new events with their deliveries, and repeats as duplicates or conflicts; answers in the given order.

    The events come back with their number. Nothing is committed here. With ``counts`` off, the caller counts them with
    ``count_received`` before it commits: the row of a source is locked from then on.
    """
    # Drawn before the identities are inserted, which may have to wait for another acceptor: order of arrival counts.
    numbers = await draw(conn, "inbox_seq", len(drafts))
    holders = await _claim(conn, drafts)
    absorbed = {mine: _Holder(first, b"", is_new=False) for mine, first in (await absorb(conn, drafts, now)).items()}
    answers: list[tuple[Accepted, Event]] = []
    fresh: list[Draft] = []
    repeats: list[tuple[Draft, Accepted]] = []
    came: list[Draft] = []
    for draft, number in zip(drafts, numbers, strict=True):
        holder = holders.get(draft.id_hash) if draft.id_hash is not None else absorbed.get(draft.event.id)
        is_ours = holder is not None and holder.event_id == draft.event.id
        if holder is not None and is_ours and not holder.is_new:
            # An earlier transaction of ours was committed, and nobody had heard of it: all its rows are there.
            answers.append((Accepted(_kind_of_repeat(draft, holder), draft.event.id, draft.problem), draft.event))
            continue
        came.append(draft)
        if holder is None or is_ours:
            stored = draft.numbered(number)
            fresh.append(stored)
            kind: Kind = "unreadable" if draft.problem else "event"
            in_doubt = draft.doubt is not None
            answers.append((Accepted(kind, draft.event.id, draft.problem, in_doubt), stored.event))
        else:
            in_doubt = draft.event.id in absorbed
            answer = Accepted(_kind_of_repeat(draft, holder), holder.event_id, draft.problem, in_doubt)
            repeats.append((draft, answer))
            answers.append((answer, draft.event))
    if fresh:
        await _INSERT_EVENTS.run(conn, [_event_record(one) for one in fresh])
    await insert_deliveries(conn, fresh, route_ids)
    await remember(conn, fresh, now)
    await _insert_repeats(conn, repeats, now)
    if counts and came:
        await count_received(conn, came, slot)
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
    row = dict(zip(_EVENT_COLUMNS, _event_record(draft), strict=True))
    read = ("type", "key", "after", "dedupe_id", "occurred_at", "problem", "matches")
    await conn.execute(
        update(t.inbox).where(t.inbox.c.seq == draft.event.seq).values({name: row[name] for name in read})
    )
    await insert_deliveries(conn, [draft], route_ids)
    return None


# Not frozen, which would take several times as long to make: there is one for each event, and nobody changes it.
@dataclass(slots=True)
class _Holder:
    event_id: UUID
    same_hash: bytes
    is_new: bool
    """Whether it has it since this transaction."""


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
    records = [(id_hash, claims[id_hash].same_hash, claims[id_hash].event.id) for id_hash in sorted(claims)]
    if conn.dialect.name == "postgresql":
        won = {row[0] for row in await _INSERT_IDENTITIES.run(conn, records)}
    elif len(records) == 1:
        id_hash, same_hash, event_id = records[0]
        won = {id_hash} if await _INSERT_IDENTITY.run(conn, id_hash, same_hash, event_id.hex) else set()
    else:
        # One writer: who is there now is all that will be there.
        won = claims.keys() - (await _holders(conn, list(claims))).keys()
        if won:
            await _INSERT_IDENTITIES.run(conn, [record for record in records if record[0] in won])
    holders = {id_hash: _Holder(claims[id_hash].event.id, claims[id_hash].same_hash, is_new=True) for id_hash in won}
    lost = [id_hash for id_hash in claims if id_hash not in won]
    # Read by a statement of its own: it sees what another acceptor committed while this one waited for it.
    return holders | await _holders(conn, lost) if lost else holders


async def _holders(conn: AsyncConnection, id_hashes: Sequence[bytes]) -> dict[bytes, _Holder]:
    """Those of these identities that are held, and by which event."""
    if conn.dialect.name == "postgresql":
        rows = await _HOLDERS.rows(conn, id_hashes)
        return {id_hash: _Holder(event_id, same_hash, is_new=False) for id_hash, same_hash, event_id in rows}
    if len(id_hashes) == 1:
        rows = await _HOLDERS.rows(conn, id_hashes[0])
        return {id_hash: _Holder(UUID(event_id), same_hash, is_new=False) for id_hash, same_hash, event_id in rows}
    query = select(t.identities).where(t.identities.c.id_hash.in_(id_hashes))
    return {row.id_hash: _Holder(row.event_id, row.same_hash, is_new=False) for row in await conn.execute(query)}


_INSERT_IDENTITIES = BulkInsert(
    t.identities, ("id_hash", "same_hash", "event_id"), conflict="ON CONFLICT DO NOTHING", returning="id_hash"
)
_HOLDERS = Direct(
    postgresql="SELECT id_hash, same_hash, event_id FROM identities WHERE id_hash = ANY($1::bytea[])",
    sqlite="SELECT id_hash, same_hash, event_id FROM identities WHERE id_hash = ?",
)
_INSERT_IDENTITY = Direct(
    postgresql="",
    sqlite="INSERT INTO identities (id_hash, same_hash, event_id) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
)


def _event_record(draft: Draft) -> Record:
    event = draft.event
    return (
        event.seq,
        event.id,
        event.source,
        event.type,
        event.key,
        event.after,
        event.dedupe_id,
        event.routing_key,
        event.message_id,
        event.occurred_at,
        event.received_at,
        event.content_type,
        event.payload,
        dict(event.headers),
        event.traceparent,
        str(event.verdict),
        event.hops,
        draft.problem or None,
        len(draft.matches),
        draft.cause,
    )


_EVENT_COLUMNS = (
    "seq",
    "id",
    "source",
    "type",
    "key",
    "after",
    "dedupe_id",
    "routing_key",
    "message_id",
    "occurred_at",
    "received_at",
    "content_type",
    "payload",
    "headers",
    "traceparent",
    "verdict",
    "hops",
    "problem",
    "matches",
    "cause",
)
_INSERT_EVENTS = BulkInsert(t.inbox, _EVENT_COLUMNS)


async def insert_deliveries(conn: AsyncConnection, drafts: Sequence[Draft], route_ids: Mapping[str, int]) -> None:
    """One delivery for each match of these events, which carry their numbers; none of the pairs may be there yet."""
    # By what they share: nearly all are ready, sure, and have one key.
    deliveries: defaultdict[Record, list[Record]] = defaultdict(list)
    barriers: list[Record] = []
    for draft in drafts:
        event = draft.event
        chain_key, lane, has_barrier = event.chain_key, event.lane, bool(event.after)
        if draft.problem:
            record = _delivery_record(event, UNREADABLE_ROUTE_ID, lane, chain_key)
            deliveries[has_barrier, False, "parked", draft.problem].append(record)
        for match in draft.matches:
            route_id = route_ids[match.route.name]
            record = _delivery_record(event, route_id, lane, chain_key)
            deliveries[has_barrier, match.error is not None, "ready", None].append(record)
            if has_barrier:
                barriers += _barrier_records(event, route_id)
    for same, records in deliveries.items():
        await _INSERT_DELIVERIES.run(conn, records, (*same, 0))
    if barriers:
        await _INSERT_BARRIERS.run(conn, barriers)


def _delivery_record(event: Event, route_id: int, lane: int, chain_key: str) -> Record:
    seq = event.seq
    return (delivery_id_of(seq, route_id), seq, event.id, route_id, lane, chain_of(route_id, chain_key))


_INSERT_DELIVERIES = BulkInsert(
    t.deliveries,
    ("id", "event_seq", "event_id", "route_id", "lane", "chain"),
    same=("barrier", "unsure", "state", "reason", "attempts"),
)


def _barrier_records(event: Event, route_id: int) -> list[Record]:
    keys = {event.chain_key, *event.after}
    return [(chain_of(route_id, key), delivery_id_of(event.seq, route_id)) for key in sorted(keys)]


_INSERT_BARRIERS = BulkInsert(t.barriers, ("chain", "delivery_id"))


async def _insert_repeats(conn: AsyncConnection, repeats: Sequence[tuple[Draft, Accepted]], now: datetime) -> None:
    duplicates = [_duplicate_record(draft, answer, now) for draft, answer in repeats if answer.kind != "conflict"]
    conflicts = [_conflict_record(draft, answer, now) for draft, answer in repeats if answer.kind == "conflict"]
    if duplicates:
        await _INSERT_DUPLICATES.run(conn, duplicates)
    if conflicts:
        await _INSERT_CONFLICTS.run(conn, conflicts)


def _duplicate_record(draft: Draft, answer: Accepted, now: datetime) -> Record:
    return (uuid7(), draft.event.source, answer.event_id, now)


def _conflict_record(draft: Draft, answer: Accepted, now: datetime) -> Record:
    event = draft.event
    return (*_duplicate_record(draft, answer, now), event.content_type, event.payload, dict(event.headers), "open")


_DUPLICATE_COLUMNS = ("id", "source", "event_id", "received_at")
_INSERT_DUPLICATES = BulkInsert(t.duplicates, _DUPLICATE_COLUMNS)
_INSERT_CONFLICTS = BulkInsert(t.conflicts, (*_DUPLICATE_COLUMNS, "content_type", "payload", "headers", "state"))


async def count_received(conn: AsyncConnection, drafts: Sequence[Draft], slot: int = 0) -> None:
    """Count what came apart from the rows it made, so that the counting equation can find a lost one."""
    counts = Counter(draft.event.source for draft in drafts)
    await _ADD_RECEIVED.run(conn, [(source, slot, counts[source]) for source in sorted(counts)])


_ADD_RECEIVED = BulkInsert(
    t.received_totals,
    ("source", "slot", "received"),
    conflict="ON CONFLICT (source, slot) DO UPDATE SET received = received_totals.received + excluded.received",
)
