"""What belongs to an event: all its rows, as they are read, written down in the archive, and deleted.

One event is one line of JSON. Its values are written by the types of their columns, so that the line is the same
whichever database the rows came from, and rows read again can be compared with it byte for byte.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias
from uuid import UUID

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    ColumnElement,
    LargeBinary,
    Numeric,
    Select,
    String,
    Table,
    Uuid,
    delete,
    insert,
    select,
    tuple_,
)
from sqlalchemy import Integer as AnyInteger
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.errors import PermanentError
from hub.event import ROUTE_BITS
from hub.store import tables as t
from hub.store.types import UtcTime, aware, utc_text

FORMAT: Final = {"format": "hub-archive", "version": 1}
IDS_MAX: Final = 1_000
"""How many rows are named in one statement."""

Values: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Part:
    table: Table
    owner: str
    """The column that says whose row it is: an event's id, its number, or a delivery's number."""


PARTS: Final[Mapping[str, _Part]] = {
    "inbox": _Part(t.inbox, "seq"),
    "deliveries": _Part(t.deliveries, "event_seq"),
    "attempts": _Part(t.attempts, "delivery_id"),
    "calls": _Part(t.calls, "delivery_id"),
    "outbox": _Part(t.outbox, "delivery_id"),
    "reviews": _Part(t.reviews, "delivery_id"),
    "corrections": _Part(t.corrections, "event_id"),
    "tags": _Part(t.tags, "event_id"),
    "duplicates": _Part(t.duplicates, "event_id"),
    "conflicts": _Part(t.conflicts, "event_id"),
}
LATE_PARTS: Final = ("duplicates", "conflicts")
"""What may come of an event after it was archived."""


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One event's rows by part. ``seq`` is None where the event itself is in the archive already."""

    event_id: UUID
    seq: int | None
    rows: Mapping[str, Sequence[Values]] = field(default_factory=dict)

    def of(self, part: str) -> Sequence[Values]:
        return self.rows.get(part, ())

    @property
    def row_count(self) -> int:
        return sum(len(rows) for rows in self.rows.values())

    @property
    def delivery_ids(self) -> list[int]:
        return [row["id"] for row in self.of("deliveries")]

    def merged(self, later: EventRecord) -> EventRecord:
        """With the rows that came after it was archived."""
        parts = self.rows.keys() | later.rows.keys()
        return EventRecord(
            self.event_id, self.seq or later.seq, {name: [*self.of(name), *later.of(name)] for name in sorted(parts)}
        )


# --- written down ---------------------------------------------------------------------------------------------------


def to_line(record: EventRecord) -> bytes:
    """The event as one line, the same for the same rows."""
    rows = {
        name: [{column: _written(PARTS[name].table.c[column], row[column]) for column in row} for row in found]
        for name, found in record.rows.items()
        if found
    }
    said = {"event": str(record.event_id), "seq": record.seq, "rows": rows}
    return json.dumps(said, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def from_line(line: bytes) -> EventRecord:
    """What ``to_line`` wrote, also by another version: unknown columns are left out, missing ones are empty.

    Raises PermanentError when it is something else.
    """
    try:
        said = json.loads(line)
        rows = {
            name: [_row_of(PARTS[name].table, row) for row in found]
            for name, found in said["rows"].items()
            if name in PARTS
        }
        return EventRecord(UUID(said["event"]), said["seq"], rows)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise PermanentError(f"a line of the archive cannot be read: {type(error).__name__}") from error


def _written(column: Column[Any], value: Any) -> Any:
    if value is None or isinstance(column.type, JSON):
        return value
    if isinstance(column.type, UtcTime):
        return utc_text(value)
    if isinstance(column.type, LargeBinary):
        return b64encode(value).decode()
    return str(value) if isinstance(column.type, Uuid) else value


def _row_of(table: Table, written: Mapping[str, Any]) -> Values:
    return {column.name: _read(column, written.get(column.name)) for column in table.columns}


def _read(column: Column[Any], value: Any) -> Any:
    if value is None:
        return None if column.nullable else _empty(column)
    if isinstance(column.type, UtcTime):
        # At either end of the calendar a time of another zone has none of UTC, in which it is written and compared.
        return aware(datetime.fromisoformat(value)).astimezone(UTC)
    if isinstance(column.type, LargeBinary):
        return b64decode(value, validate=True)
    return UUID(value) if isinstance(column.type, Uuid) else value


def _empty(column: Column[Any]) -> object:
    """What stands in a column that was not there yet when the row was written."""
    match column.type:
        case UtcTime():
            return datetime(1970, 1, 1, tzinfo=UTC)
        case LargeBinary():
            return b""
        case Uuid():
            return UUID(int=0)
        case Boolean():
            return False
        case AnyInteger() | Numeric():
            return 0
        case String():
            return ""
    return {}


# --- read and deleted -----------------------------------------------------------------------------------------------


async def read_events(conn: AsyncConnection, seqs: Sequence[int], *, lock: bool = False) -> list[EventRecord]:
    """The events with these numbers and all their rows, in order of acceptance.

    With ``lock``, nobody else changes them before the commit; those that somebody else has locked are left out.
    """
    found = select(t.inbox).where(t.inbox.c.seq.in_(seqs)).order_by(t.inbox.c.seq)
    events = [row._asdict() for row in await conn.execute(found.with_for_update(skip_locked=True) if lock else found)]
    by_seq = {event["seq"]: event["id"] for event in events}
    rows: dict[UUID, dict[str, list[Values]]] = {event["id"]: {"inbox": [event]} for event in events}
    owners: dict[str, Sequence[Any]] = {"event_seq": list(by_seq), "event_id": list(rows)}
    for name, part in PARTS.items():
        if name == "inbox":
            continue
        for row in await _rows_of(conn, part, owners[part.owner], lock=lock):
            seq = row["event_seq"] if name == "deliveries" else row.get("delivery_id", 0) >> ROUTE_BITS
            owner = row["event_id"] if part.owner == "event_id" else by_seq[seq]
            rows[owner].setdefault(name, []).append(row)
        if name == "deliveries":
            owners["delivery_id"] = [row["id"] for of in rows.values() for row in of.get("deliveries", ())]
    return [EventRecord(event_id, seq, rows[event_id]) for seq, event_id in by_seq.items()]


async def read_late(
    conn: AsyncConnection, ids: Mapping[str, Sequence[UUID]], *, lock: bool = False
) -> list[EventRecord]:
    """Repeats by their own ids, by part, put together by the events that they repeat."""
    rows: defaultdict[UUID, dict[str, list[Values]]] = defaultdict(dict)
    for name in LATE_PARTS:
        for row in await _rows_of(conn, _Part(PARTS[name].table, "id"), ids.get(name, ()), lock=lock):
            rows[row["event_id"]].setdefault(name, []).append(row)
    return [EventRecord(event_id, None, rows[event_id]) for event_id in sorted(rows)]


async def _rows_of(conn: AsyncConnection, part: _Part, owners: Sequence[Any], *, lock: bool) -> list[Values]:
    found: list[Values] = []
    for some in in_parts(owners):
        query: Select[Any] = select(part.table).where(part.table.c[part.owner].in_(some))
        query = query.order_by(*part.table.primary_key.columns)
        found += [row._asdict() for row in await conn.execute(query.with_for_update() if lock else query)]
    return found


async def delete_rows(conn: AsyncConnection, records: Iterable[EventRecord]) -> int:
    """Delete exactly these rows, each by its key; answers how many there were."""
    deleted = 0
    by_part: defaultdict[str, list[Values]] = defaultdict(list)
    for record in records:
        for name, rows in record.rows.items():
            by_part[name] += rows
    for name, rows in by_part.items():
        table = PARTS[name].table
        for some in in_parts(rows):
            deleted += (await conn.execute(delete(table).where(_are(table, some)))).rowcount
    return deleted


async def put_back(conn: AsyncConnection, record: EventRecord) -> None:
    """Insert the event's rows again, in a transaction that will be rolled back, so that it can be looked at."""
    for name, rows in record.rows.items():
        if rows:
            await conn.execute(insert(PARTS[name].table), list(rows))


def _are(table: Table, rows: Sequence[Values]) -> ColumnElement[bool]:
    key = list(table.primary_key.columns)
    if len(key) == 1:
        return key[0].in_([row[key[0].name] for row in rows])
    return tuple_(*key).in_([tuple(row[column.name] for column in key) for row in rows])


def in_parts(values: Sequence[Any], size: int = IDS_MAX) -> Iterable[Sequence[Any]]:
    """The values, so many at a time as one statement may name."""
    return (values[start : start + size] for start in range(0, len(values), size))
