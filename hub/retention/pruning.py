"""Pruning: old events are written into the archive, read back, and only then deleted, row by row.

1. *Choose* old events of which nothing is open (``choosing``).
2. *Write* many of them as one object, and read it back.
3. *Delete* them in small transactions. Each locks its events, reads all their rows once more and deletes, by their
   keys, exactly those that are in the object as they are now; it notes where each event is and counts what it was.

A crash between two steps leaves an object that nothing refers to, or events that are still where they were; the next
run does them again. Two that prune at once do not meet: an event that one has locked, the other leaves out.
Source: docs/retention.md.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import structlog
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.clock import Clock
from hub.errors import PermanentError
from hub.operate.closing import close_answered
from hub.operate.states import state_among
from hub.retention.choosing import Reason, late_repeats, look_at
from hub.retention.metrics import ARCHIVED, OBJECTS
from hub.retention.names import note_names
from hub.retention.objects import Packed, pack, write
from hub.retention.record import EventRecord, delete_rows, in_parts, read_events, read_late, to_line
from hub.retention.witness import NoWitness, Witness
from hub.storage import Storage
from hub.store.sequences import draw
from hub.store.store import Store
from hub.store.tables_archive import archive_objects, archived, archived_totals
from hub.store.upserts import insert_for

OBJECT_EVENTS_MAX: Final = 2_000
OBJECT_BYTES_MAX: Final = 16 * 1024 * 1024
"""Payloads in one object, before it is compressed."""
READ_EVENTS_MAX: Final = 200
DELETED_TOGETHER: Final = 100
"""Events that one transaction deletes: others that write wait no longer than for these."""
REST_S_MAX: Final = 1.0
"""Between two of them is a rest as long as the former took, so that writers get half of the time."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class PruneReport:
    """What one run did. ``kept`` counts old events that stay, by the reason; ``late`` are repeats of archived ones."""

    cutoff: datetime
    events: int = 0
    late: int = 0
    objects: int = 0
    bytes: int = 0
    kept: Counter[Reason] = field(default_factory=Counter)
    unsealed: int = 0
    changed: int = 0
    """Events that somebody changed, or held, while they were being archived; the next run takes them."""
    is_complete: bool = True


class Pruner:
    """Takes old events out of one database. Any number may run."""

    def __init__(
        self,
        store: Store,
        storage: Storage,
        clock: Clock,
        *,
        witness: Witness | None = None,
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._store = store
        self._storage = storage
        self._clock = clock
        self._witness = witness or NoWitness()
        self._is_stopping = is_stopping

    async def run(self, age: timedelta, *, events_max: int | None = None, dry_run: bool = False) -> PruneReport:
        """Archive the events that were finished ``age`` ago, at most ``events_max``; with ``dry_run`` only count them.

        Raises StorageError, ObjectLostError, StoreUnavailableError, and PermanentError where other rows would go than
        were archived; what was done until then stays done.
        """
        report = PruneReport(self._clock.now() - age)
        if not dry_run:
            # What goes into the archive is over: nothing there shows as a call that somebody must look at.
            await close_answered(self._store, self._clock)
        basket = _Basket()
        async for records in self._chosen(report, events_max):
            if dry_run:
                report.events += len(records)
                continue
            for record in records:
                basket.add(record)
                if basket.is_full:
                    await self._archive(basket.empty(), report)
        if basket.records:
            await self._archive(basket.empty(), report)
        if not dry_run:
            await self._archive_late(report)
        return report

    async def _chosen(self, report: PruneReport, events_max: int | None) -> AsyncIterator[Sequence[EventRecord]]:
        """All rows of the events that may go, some at a time."""
        after, chosen, is_end = -1, 0, False
        while not is_end:
            async with self._store.reading() as conn:
                window = await look_at(conn, after, report.cutoff)
            report.kept.update(window.kept)
            after, is_end = window.last, window.is_end
            for seqs in _readable(window.sizes):
                if self._is_stopping() or (events_max is not None and chosen >= events_max):
                    report.is_complete = False
                    return
                async with self._store.reading() as conn:
                    records = await read_events(conn, seqs)
                    permitted = await self._witness.may_prune(conn, records)
                report.unsealed += len(records) - len(permitted)
                wanted = permitted if events_max is None else permitted[: events_max - chosen]
                report.is_complete &= len(wanted) == len(permitted)
                chosen += len(wanted)
                yield wanted

    async def _archive(self, records: Sequence[EventRecord], report: PruneReport) -> None:
        packed = pack(records, _month_of(records[0], self._clock.now()))
        await write(self._storage, packed)
        report.objects += 1
        report.bytes += len(packed.content)
        OBJECTS.inc()
        for some in in_parts(records, DELETED_TOGETHER):
            begun = self._clock.monotonic()
            deleted = await self._store.write(partial(self._take_out, packed=packed, wanted=some))
            report.events += deleted
            report.changed += len(some) - deleted
            ARCHIVED.labels(sort="events").inc(deleted)
            await asyncio.sleep(min(REST_S_MAX, self._clock.monotonic() - begun))
        log.info("events_archived", object=packed.name, events=len(records), bytes=len(packed.content))

    async def _take_out(self, conn: AsyncConnection, packed: Packed, wanted: Sequence[EventRecord]) -> int:
        """Delete those of these events that are now as they are in the object; answers how many."""
        lines = {one.event_id: to_line(one) for one in wanted}
        now = await read_events(conn, [one.seq for one in wanted if one.seq is not None], lock=True)
        same = [one for one in now if to_line(one) == lines[one.event_id]]
        if same:
            await self._note(conn, packed, same, late=False)
        return len(same)

    async def _archive_late(self, report: PruneReport) -> None:
        """Repeats that came after their event had been archived go there as well."""
        while not self._is_stopping():
            async with self._store.reading() as conn:
                ids = await late_repeats(conn, report.cutoff)
                records = await read_late(conn, ids)
            if not records:
                return
            packed = pack(records, self._clock.now())
            await write(self._storage, packed)

            async def take_out(conn: AsyncConnection, packed: Packed = packed, ids: Any = ids) -> int:
                now = await read_late(conn, ids, lock=True)
                if [to_line(one) for one in now] != [to_line(one) for one in packed.records]:
                    return 0  # another run was faster
                await self._note(conn, packed, now, late=True)
                return sum(one.row_count for one in now)

            deleted = await self._store.write(take_out)
            if not deleted:
                report.is_complete = False
                return
            report.late += deleted
            report.objects += 1
            ARCHIVED.labels(sort="repeats").inc(deleted)

    async def _note(self, conn: AsyncConnection, packed: Packed, records: Sequence[EventRecord], *, late: bool) -> None:
        """Say where these events are, count them, and delete their rows."""
        object_id = await self._object_id(conn, packed)
        rows = [
            {"event_id": one.event_id, "object_id": object_id, "event_seq": one.seq, "late": late} for one in records
        ]
        await conn.execute(insert(archived), rows)
        await note_names(conn, records)
        await _count(conn, records)
        deleted, expected = (
            await delete_rows(conn, records),
            sum(len(rows) for one in records for rows in one.rows.values()),
        )
        if deleted != expected:
            raise PermanentError(f"{deleted} rows would have been deleted, {expected} are in the archive")
        await self._witness.pruned(conn, records)

    async def _object_id(self, conn: AsyncConnection, packed: Packed) -> int:
        known = select(archive_objects.c.id).where(archive_objects.c.name == packed.name)
        found: int | None = await conn.scalar(known)
        if found is None:
            [number] = await draw(conn, "archive_seq", 1)
            row = {
                "id": number,
                "name": packed.name,
                "sha256": packed.sha256,
                "bytes": len(packed.content),
                "events": len(packed.records),
                "written_at": self._clock.now(),
            }
            await conn.execute(insert_for(conn.dialect.name, archive_objects).on_conflict_do_nothing(), [row])
            found = await conn.scalar(known)
        assert found is not None
        return found


@dataclass(slots=True)
class _Basket:
    """Events on their way into one object."""

    records: list[EventRecord] = field(default_factory=list)
    bytes: int = 0

    def add(self, record: EventRecord) -> None:
        self.records.append(record)
        self.bytes += sum(len(row["payload"]) for name in ("inbox", "outbox", "conflicts") for row in record.of(name))

    @property
    def is_full(self) -> bool:
        return len(self.records) >= OBJECT_EVENTS_MAX or self.bytes >= OBJECT_BYTES_MAX

    def empty(self) -> list[EventRecord]:
        records, self.records, self.bytes = self.records, [], 0
        return records


def _readable(sizes: dict[int, int]) -> Sequence[Sequence[int]]:
    """The numbers of events, as many at a time as may be in memory together."""
    pieces: list[list[int]] = []
    held = 0
    for seq, size in sizes.items():
        if not pieces or len(pieces[-1]) >= READ_EVENTS_MAX or held + size > OBJECT_BYTES_MAX:
            pieces.append([])
            held = 0
        pieces[-1].append(seq)
        held += size
    return pieces


def _month_of(record: EventRecord, now: datetime) -> datetime:
    events = record.of("inbox")
    return events[0]["received_at"] if events else now


async def _count(conn: AsyncConnection, records: Sequence[EventRecord]) -> None:
    """Add to the totals what these rows were, so that the counting equation still holds."""
    counts: defaultdict[tuple[str, str], int] = defaultdict(int)
    for record in records:
        for event in record.of("inbox"):
            state = state_among([row["state"] for row in record.of("deliveries")])
            counts[event["source"], state] += 1
        for sort in ("duplicates", "conflicts"):
            for row in record.of(sort):
                counts[row["source"], sort] += 1
    new = insert_for(conn.dialect.name, archived_totals)
    adding = new.on_conflict_do_update(
        index_elements=["source", "sort"], set_={"count": archived_totals.c.count + new.excluded.count}
    )
    for (source, sort), count in sorted(counts.items()):
        await conn.execute(adding, [{"source": source, "sort": sort, "count": count}])
