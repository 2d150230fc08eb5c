"""By what an archived event is found: hashes of its key and its tags, kept when it leaves the tables."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy.ext.asyncio import AsyncConnection

from hub.operate.archived import hashes_of
from hub.retention.record import EventRecord, in_parts
from hub.store.tables_archive import archived_names
from hub.store.upserts import insert_for


async def note_names(conn: AsyncConnection, records: Iterable[EventRecord]) -> int:
    """Keep by what these events are found; what is kept already stays. Answers how many names are new."""
    rows = [
        {"name_hash": name_hash, "event_id": record.event_id}
        for record in records
        for name_hash in sorted(_hashes(record))
    ]
    new = insert_for(conn.dialect.name, archived_names).on_conflict_do_nothing()
    noted = 0
    for some in in_parts(rows):
        noted += (await conn.execute(new.values(list(some)))).rowcount
    return noted


def _hashes(record: EventRecord) -> set[bytes]:
    tags = [(row["name"], row["value"]) for row in record.of("tags")]
    keys = [row["key"] for row in record.of("inbox")] or [None]
    return {one for key in keys for one in hashes_of(key, tags)}
