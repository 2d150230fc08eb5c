"""Reading the archive: an event is found by its id, with everything that was written down of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeVar
from uuid import UUID

from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.errors import HubError, UsageError
from hub.operate.event_details import details_of
from hub.operate.event_view import EventDetails
from hub.retention import objects
from hub.retention.names import note_names
from hub.retention.record import EventRecord, in_parts, put_back
from hub.routing import SourceConfig
from hub.storage import ObjectLostError, Storage
from hub.store.store import Store
from hub.store.tables_archive import archive_objects, archived

T = TypeVar("T")

INDEXED_TOGETHER: Final = 100


@dataclass(frozen=True, slots=True)
class ArchivedEvent:
    """One event out of the archive, and the objects that hold it, oldest first."""

    record: EventRecord
    objects: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ArchiveObject:
    """One object: its number, its name in the storage, its size and how many events it holds."""

    id: int
    name: str
    bytes: int
    events: int
    written_at: datetime


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a look at every object found. ``faults`` name the object and what is wrong with it."""

    objects: int
    events: int
    faults: tuple[str, ...]


class Archive:
    """The archive of one database."""

    def __init__(self, store: Store, storage: Storage) -> None:
        self._store = store
        self._storage = storage

    async def load(self, event_id: UUID) -> ArchivedEvent:
        """Everything that was written down of this event. Raises UsageError where it is not in the archive,
        StorageError, ObjectLostError.
        """
        query = (
            select(archive_objects.c.name, archive_objects.c.sha256)
            .join(archived, archived.c.object_id == archive_objects.c.id)
            .where(archived.c.event_id == event_id)
            .order_by(archived.c.late, archive_objects.c.id)
        )
        async with self._store.reading() as conn:
            places = list(await conn.execute(query))
        if not places:
            raise UsageError(f"event {event_id} is not in the archive")
        record = EventRecord(event_id, None)
        for place in places:
            content = await objects.read(self._storage, place.name, place.sha256)
            found = [one for one in objects.unpack(content) if one.event_id == event_id]
            if not found:
                raise ObjectLostError(f"{place.name}: event {event_id} is not in it")
            record = record.merged(found[0])
        return ArchivedEvent(record, tuple(place.name for place in places))

    async def show(self, event_id: UUID, sources: Mapping[str, SourceConfig]) -> EventDetails:
        """The same as ``show_event`` said when the event was in the tables. Raises as ``load`` does."""
        where, details = await self.look(event_id, lambda conn: details_of(conn, event_id, sources))
        return replace(details, archived_in=where)

    async def look(self, event_id: UUID, work: Callable[[AsyncConnection], Awaitable[T]]) -> tuple[tuple[str, ...], T]:
        """Let ``work`` see the event as if it were in the tables still; answers also the objects that hold it.

        Raises as ``load`` does.
        """
        loaded = await self.load(event_id)

        async def see(conn: AsyncConnection) -> T:
            await put_back(conn, loaded.record)
            return await work(conn)

        # In a transaction that is rolled back: the same eyes see it beside its entries and the rest of its trace.
        return loaded.objects, await self._store.rehearse(see)

    async def payload(self, event_id: UUID, *, corrected: bool = False) -> bytes:
        """The payload byte for byte as it came; with ``corrected`` the latest correction, if there is one."""
        loaded = await self.load(event_id)
        corrections = loaded.record.of("corrections") if corrected else ()
        latest = max(corrections, key=lambda row: row["number"], default=loaded.record.of("inbox")[0])
        return bytes(latest["payload"])

    async def objects(self, *, limit: int) -> list[ArchiveObject]:
        """The newest objects."""
        o = archive_objects.c
        query = select(o.id, o.name, o.bytes, o.events, o.written_at).order_by(o.id.desc()).limit(limit)
        async with self._store.reading() as conn:
            return [ArchiveObject(**row._mapping) for row in await conn.execute(query)]

    async def index(self) -> int:
        """Find archived events by their keys and tags, also those that were archived before these were kept.

        Answers how many names are new; again it finds nothing. Raises StorageError, ObjectLostError.
        """
        noted, after = 0, 0
        while (row := await self._object_after(after)) is not None:
            after = row.id
            records = list(objects.unpack(await objects.read(self._storage, row.name, row.sha256)))
            for some in in_parts(records, INDEXED_TOGETHER):
                noted += await self._store.write(partial(note_names, records=some))
        return noted

    async def _object_after(self, number: int) -> Row[Any] | None:
        query = select(archive_objects).where(archive_objects.c.id > number).order_by(archive_objects.c.id).limit(1)
        async with self._store.reading() as conn:
            return (await conn.execute(query)).first()

    async def verify(self, *, said: Callable[[str], None] = lambda _: None) -> VerifyReport:
        """Read every object and compare it with what is noted about it. ``said`` is told of each fault at once."""
        count, events, after = 0, 0, 0
        faults: list[str] = []
        while True:
            row = await self._object_after(after)
            if row is None:
                return VerifyReport(count, events, tuple(faults))
            async with self._store.reading() as conn:
                noted = select(archived.c.event_id).where(archived.c.object_id == row.id)
                expected = set((await conn.scalars(noted)).all())
            after, count = row.id, count + 1
            try:
                held = {one.event_id for one in objects.unpack(await objects.read(self._storage, row.name, row.sha256))}
            except HubError as error:
                faults.append(f"{row.name}: {error}")
                said(faults[-1])
                continue
            events += len(expected)
            if expected - held:
                faults.append(f"{row.name}: {len(expected - held)} events that should be in it are not")
                said(faults[-1])
