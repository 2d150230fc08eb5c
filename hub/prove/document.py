"""Makes the proof of one event out of stored rows: the rows themselves, and the way from each to its sealed block.

A proof is self-contained: ``offline.py`` judges it without the hub. Payloads and headers may be withheld, since a leaf
holds only their hashes. Source: docs/prove.md, "The proof".
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, TypeAlias
from uuid import UUID

from sqlalchemy import Row, Select, bindparam, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.errors import UsageError
from hub.operate.lookup import ArchivedError, find_event, route_names
from hub.prove.offline import FORMAT, levels_of, path_of, stable_hash
from hub.seal import tables as s
from hub.seal.chain import read_head
from hub.seal.kinds import KINDS, Member, RowReader, Stored, Values, microseconds, readers_of
from hub.seal.members import DamagedError, members_of_block
from hub.store import tables as t
from hub.store.store import Store

Json: TypeAlias = dict[str, Any]

ROWS_MAX: Final = 20_000
"""How many rows one proof may hold."""
BLOCKS_KEPT_MAX: Final = 16
QUERIES_KEPT_MAX: Final = 64
OPEN_CONTENT: Final = frozenset({"outcome", "data"})
"""Content that is always shown: what a provider answered, what an entry says of itself."""


async def proof_of(store: Store, event: str, *, now: datetime, blocks: SealedBlocks | None = None) -> Json:
    """The proof of the event with this id, or the beginning of one, as JSON values, with all content.

    Who proves many events hands over the ``blocks`` that they share. Raises UsageError for an unknown event, for one of
    more than ``ROWS_MAX`` rows, and where a row or a block cannot be read.
    """
    async with store.reading() as conn:
        return await proof_in(conn, await find_event(conn, event), now=now, blocks=blocks)


async def proof_in(conn: AsyncConnection, event_id: UUID, *, now: datetime, blocks: SealedBlocks | None = None) -> Json:
    """The same of an event that is in the tables as this transaction sees them. Raises ArchivedError as well."""
    seq = await conn.scalar(select(t.inbox.c.seq).where(t.inbox.c.id == event_id))
    if seq is None:
        raise ArchivedError(event_id)
    rows = await _rows(conn, readers_of(conn.dialect.name), seq, event_id)
    names = await route_names(conn)
    deliveries = [row for row in rows if row.kind.name == "delivery"]
    return {
        "format": FORMAT,
        "made_at": now.isoformat().replace("+00:00", "Z"),
        "event_id": str(event_id),
        "routes": {str(row["route_id"]): names.get(row["route_id"]) for row in deliveries},
        "identities": await _identities(conn, rows[0]),
        "rows": [_shown(row) for row in rows],
        "seal": await _sealed(conn, rows, blocks or SealedBlocks()),
    }


def without_content(proof: Json) -> Json:
    """The same proof with payloads and headers withheld."""
    rows = [one | {"fields": [_withheld(field) for field in one["fields"]]} for one in proof["rows"]]
    return proof | {"rows": rows}


def _withheld(field: Json) -> Json:
    keeps = field["name"] in OPEN_CONTENT or "content" not in field
    return field if keeps else {name: value for name, value in field.items() if name != "content"}


async def _rows(conn: AsyncConnection, readers: Mapping[str, RowReader], seq: int, event_id: UUID) -> list[Stored]:
    found: list[Stored] = []

    def take(kind: str, rows: Iterable[Values]) -> list[Stored]:
        try:
            taken = [readers[kind].stored(row) for row in rows]
        except ValueError as error:
            raise UsageError(f"event {event_id} cannot be proven: a {kind} holds {error}") from error
        found.extend(taken)
        if len(found) > ROWS_MAX:
            raise UsageError(f"event {event_id} has more than {ROWS_MAX} rows: too many for one proof")
        return taken

    take("event", await readers["event"].of(conn, [seq]))
    deliveries = take("delivery", await readers["delivery"].of(conn, [seq], by="event_seq"))
    ids = [row.id for row in deliveries]
    take("call", await readers["call"].of(conn, ids))
    take("message", await readers["message"].of(conn, ids, by="delivery_id"))
    entries = take("entry", await readers["entry"].of(conn, await _entry_ids(conn, event_id)))
    moves = take("move", await readers["move"].of(conn, [row.id for row in entries], by="entry_id"))
    accounts = {row[side] for row in moves for side in ("debit_account", "credit_account")}
    take("account", await readers["account"].of(conn, sorted(accounts)))
    return found


async def _entry_ids(conn: AsyncConnection, event_id: UUID) -> Sequence[int]:
    entries = KINDS["entry"].table
    query = select(entries.c.id).where(entries.c.event_id == event_id).order_by(entries.c.id).limit(ROWS_MAX + 1)
    return (await conn.scalars(query)).all()


async def _identities(conn: AsyncConnection, event: Stored) -> list[Json]:
    if event["dedupe_id"] is None:
        return []
    made = [
        stable_hash("identity", event["source"], event["dedupe_id"]),
        stable_hash("own identity", event["source"], event["type"], event["dedupe_id"]),
    ]
    query = select(t.identities).where(t.identities.c.id_hash.in_(made))
    return [{"id_hash": row.id_hash.hex(), "event_id": str(row.event_id)} for row in await conn.execute(query)]


def _shown(row: Stored) -> Json:
    fields = []
    for name, kind, value in zip(row.kind.columns, row.kind.types, row.values, strict=True):
        field: Json = {"name": name, "type": kind, "value": value}
        if value is not None and kind in ("bytes", "json"):
            content = row.content(name)
            field["content"] = json.dumps(content) if kind == "json" else b64encode(content).decode()
        fields.append(field)
    return {"kind": row.kind.name, "id": row.id, "key": row.key, "fields": fields}


async def _sealed(conn: AsyncConnection, rows: Sequence[Stored], blocks: SealedBlocks) -> Json:
    try:
        return await _seal(conn, rows, blocks)
    except DamagedError as error:
        raise UsageError(f"a block of the seal is damaged ({error}): hub verify --seal says where") from error


class SealedBlocks:
    """Blocks with their trees, the last few that were asked for: many events are sealed in one block."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, SealedBlock] = OrderedDict()

    async def block(self, conn: AsyncConnection, number: int) -> SealedBlock | None:
        """The block of this number; None when it is not there. Raises DamagedError."""
        found = self._kept.pop(number, None)
        if found is None:
            row = (await conn.execute(select(s.blocks).where(s.blocks.c.number == number))).first()
            if row is None:
                return None
            found = SealedBlock(row, await members_of_block(conn, number))
        self._kept[number] = found
        if len(self._kept) > BLOCKS_KEPT_MAX:
            self._kept.popitem(last=False)
        return found


class SealedBlock:
    """A block, the places of its members, and its tree."""

    def __init__(self, row: Row[Any], members: Sequence[Member]) -> None:
        self.row = row
        self.places: defaultdict[tuple[str, int], list[tuple[str, int]]] = defaultdict(list)
        for place, one in enumerate(members):
            self.places[one.kind, one.id].append((one.key, place))
        self.levels = levels_of([one.node for one in members])

    def shown(self) -> Json:
        return {
            "number": self.row.number,
            "previous": self.row.previous.hex(),
            "root": self.row.root.hex(),
            "members": self.row.members,
            "sealed_at": microseconds(self.row.sealed_at),
            "hash": self.row.hash.hex(),
        }


async def _seal(conn: AsyncConnection, rows: Sequence[Stored], blocks: SealedBlocks) -> Json:
    """The blocks in which the rows are sealed, and the path of each; and what is sealed of this event and gone."""
    ids: defaultdict[str, set[int]] = defaultdict(set)
    for row in rows:
        ids[row.kind.name].add(row.id)
        if row.kind.name == "delivery":
            ids["call"].add(row.id)
    shown: dict[int, Json] = {}
    paths: dict[tuple[str, int, str], Json] = {}
    for number in await _blocks_of(conn, ids):
        block = await blocks.block(conn, number)
        if block is None:
            continue
        for kind, wanted in ids.items():
            for number_of in wanted:
                for key, place in block.places.get((kind, number_of), ()):
                    path = path_of(block.levels, place)
                    named = {"kind": kind, "id": number_of, "key": key, "block": number, "path": path}
                    paths.setdefault((kind, number_of, key), named)
                    shown[number] = block.shown()
    head = await read_head(conn)
    return {
        "head": {"number": head.number, "hash": head.hash.hex()},
        "blocks": [shown[number] for number in sorted(shown)],
        "paths": [paths[name] for name in sorted(paths)],
    }


async def _blocks_of(conn: AsyncConnection, ids: Mapping[str, set[int]]) -> Sequence[int]:
    """The blocks that may have sealed one of these rows."""
    values: dict[str, Any] = {}
    places = 0
    for kind, numbers in ids.items():
        width = KINDS[kind].width
        for cluster in {number // width for number in numbers}:
            some = [number for number in numbers if number // width == cluster]
            values |= {f"kind_{places}": kind, f"from_{places}": min(some) - width}
            values |= {f"first_{places}": min(some), f"last_{places}": max(some)}
            places += 1
    if not places:
        return []
    return (await conn.scalars(_near(places), values)).all()


@lru_cache(QUERIES_KEPT_MAX)
def _near(places: int) -> Select[int]:
    """The blocks with members near one of so many places; put together once, since it is asked for each event."""
    low, high = s.members.c.low, s.members.c.high
    near = [
        (s.members.c.kind == bindparam(f"kind_{place}"))
        & low.between(bindparam(f"from_{place}"), bindparam(f"last_{place}"))
        & (high >= bindparam(f"first_{place}"))
        for place in range(places)
    ]
    return select(s.members.c.block).where(or_(*near)).distinct().order_by(s.members.c.block)
