"""What is sealed: which rows, which of their fields, and from when on they are final.

Rows are read as the driver hands them out, past SQLAlchemy's types: so that a value which the hub would never write is
seen, and because it costs a third. Source: docs/prove.md, "What is sealed".
"""

# ruff: noqa: S608 - these texts are put together from the names of tables and columns
from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID

from sqlalchemy import JSON, Boolean, Integer, LargeBinary, Table, Uuid
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.errors import HubError
from hub.event import ROUTE_BITS
from hub.ledger.tables import accounts, entries, moves
from hub.prove.offline import field_form, json_text, leaf_head, leaf_of, node_of, sized
from hub.seal import tables as s
from hub.store import tables as t
from hub.store.types import UtcTime

Values: TypeAlias = tuple[Any, ...]
Decode: TypeAlias = Callable[[Any], Any]
Form: TypeAlias = Callable[[Any], bytes]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
CALL_VERDICTS: Final = ("settled", "declined", "not_found")
"""States of a call that nothing changes any more."""
ENDED: Final = ("done", "discarded")
"""States of a delivery that nothing changes any more; one that was refused is run again by a replay."""
SENT: Final = ("sent", "discarded")


class MalformedError(HubError, ValueError):
    """A stored value that the hub would never have written."""


class Member(NamedTuple):
    """One sealed row. Their order is that of a block."""

    kind: str
    id: int
    key: str
    leaf: bytes

    @property
    def node(self) -> bytes:
        return node_of(self.kind, self.id, self.key, self.leaf)


@dataclass(frozen=True)
class Kind:
    """One kind of row. ``final`` is SQL; ``key`` are the columns that follow ``id`` in the primary key.

    ``width``: members whose ids lie further apart than this are never packed together.
    """

    name: str
    table: Table
    id: str
    final: str
    left_out: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    width: int = 1 << 16

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The sealed fields, in the order of the leaf."""
        return tuple(column.name for column in self.table.columns if column.name not in self.left_out)

    @cached_property
    def types(self) -> tuple[str, ...]:
        return tuple(_type_of(self.table.c[name].type) for name in self.columns)

    @cached_property
    def selected(self) -> str:
        names = ", ".join(f't."{name}"' for name in self.columns)
        return f'SELECT {names} FROM "{self.table.name}" AS t'

    @cached_property
    def order(self) -> str:
        return ", ".join(f't."{name}"' for name in (self.id, *self.key))


_UNREAD = f"""EXISTS (SELECT 1 FROM deliveries AS d WHERE d.id = t.seq * {1 << ROUTE_BITS} AND d.state IN {ENDED!r})"""
_DELIVERY_ENDED = f"EXISTS (SELECT 1 FROM deliveries AS d WHERE d.id = t.delivery_id AND d.state IN {ENDED!r})"

EVENT = Kind("event", t.inbox, "seq", f"(t.problem IS NULL OR {_UNREAD})", left_out=("matches",))
DELIVERY = Kind("delivery", t.deliveries, "id", f"t.state IN {ENDED!r}", width=1 << 32)
CALL = Kind(
    "call",
    t.calls,
    "delivery_id",
    f"(t.state IN {CALL_VERDICTS!r} OR {_DELIVERY_ENDED})",
    # Written when the rest is final: that somebody has answered for what stays as it is.
    left_out=("closed_at",),
    key=("step", "number"),
    width=1 << 32,
)
ACCOUNT = Kind("account", accounts, "id", "1 = 1")
ENTRY = Kind("entry", entries, "id", "1 = 1")
MOVE = Kind("move", moves, "id", "1 = 1")
MESSAGE = Kind("message", t.outbox, "seq", f"t.state IN {SENT!r}")
PRUNING = Kind("pruning", s.prunings, "number", "1 = 1")

KINDS: Final[Mapping[str, Kind]] = {
    kind.name: kind for kind in (EVENT, DELIVERY, CALL, ACCOUNT, ENTRY, MOVE, MESSAGE, PRUNING)
}


@dataclass(frozen=True, slots=True)
class Stored:
    """A row as it is stored: plain values in the order of its kind's columns, and the content behind the hashes."""

    kind: Kind
    values: Values
    raw: Values
    is_text: bool
    """Whether JSON comes as text from this database."""

    @property
    def id(self) -> int:
        number: int = self.values[self.kind.columns.index(self.kind.id)]
        return number

    @property
    def key(self) -> str:
        return "#".join(str(self[name]) for name in self.kind.key)

    def __getitem__(self, name: str) -> Any:
        return self.values[self.kind.columns.index(name)]

    def content(self, name: str) -> Any:
        """What stands behind a hash: bytes, or a JSON value."""
        place = self.kind.columns.index(name)
        raw = self.raw[place]
        return json.loads(raw) if self.kind.types[place] == "json" and type(raw) is str and self.is_text else raw

    @property
    def member(self) -> Member:
        forms = [field_form(kind, value) for kind, value in zip(self.kind.types, self.values, strict=True)]
        return Member(self.kind.name, self.id, self.key, leaf_of(self.kind.name, forms))


class RowReader:
    """Reads rows of one kind. Raises MalformedError for a value that the hub would never have written."""

    def __init__(self, kind: Kind, dialect: str) -> None:
        self._kind = kind
        self.name = kind.name
        self._is_postgresql = dialect == "postgresql"
        decode = _POSTGRESQL if self._is_postgresql else _SQLITE
        types = kind.types
        self._decode: Sequence[Decode] = [decode[one] for one in types]
        columns = kind.columns
        parts = _QUICK_POSTGRESQL if self._is_postgresql else _QUICK
        self._parts: Sequence[Form] = [parts.get(one) or _part_of(one, decode[one]) for one in types]
        self._head = leaf_head(kind.name, len(columns))
        self._id, self._key = columns.index(kind.id), [columns.index(name) for name in kind.key]
        self._plainly = {"event": ("problem", (None,)), "delivery": ("state", ENDED), "message": ("state", SENT)}.get(
            kind.name
        )
        self._says = columns.index(self._plainly[0]) if self._plainly is not None else 0

    async def between(
        self, conn: AsyncConnection, low: int, high: int, *, limit: int | None = None, where: str = ""
    ) -> list[Values]:
        """The rows with ids from ``low`` to ``high``, in order, at most ``limit``: as the driver has them."""
        bounds = f't."{self._kind.id}" BETWEEN {self._mark(1)} AND {self._mark(2)}'
        return await self._read(conn, bounds, (low, high), where, limit)

    async def of(
        self, conn: AsyncConnection, ids: Iterable[int], *, by: str | None = None, where: str = ""
    ) -> list[Values]:
        """The rows with these ids, or with these numbers in the column ``by``."""
        wanted = list(ids)
        if not wanted:
            return []
        column = f't."{by or self._kind.id}"'
        if self._is_postgresql:
            return await self._read(conn, f"{column} = ANY($1::bigint[])", (wanted,), where)
        among = f"{column} IN (SELECT value FROM json_each(?))"
        return await self._read(conn, among, (json.dumps(wanted),), where)

    def stored(self, row: Values) -> Stored:
        """The row with its values checked. Raises MalformedError."""
        values = tuple(
            [None if value is None else decode(value) for decode, value in zip(self._decode, row, strict=True)]
        )
        return Stored(self._kind, values, row, is_text=not self._is_postgresql)

    def member(self, row: Values) -> Member:
        """The row as a member of a block. Raises MalformedError."""
        parts = [_NOTHING if value is None else part(value) for part, value in zip(self._parts, row, strict=True)]
        leaf = hashlib.sha256(self._head + b"".join(parts)).digest()
        return Member(self.name, row[self._id], self.key(row) if self._key else "", leaf)

    def is_plainly_final(self, row: Values) -> bool:
        """Whether the row itself says that it is final; of the others, the kind's ``final`` tells."""
        return self._plainly is None or row[self._says] in self._plainly[1]

    def id(self, row: Values) -> int:
        number: int = row[self._id]
        return number

    def key(self, row: Values) -> str:
        return "#".join([str(row[place]) for place in self._key])

    def _mark(self, number: int) -> str:
        return f"${number}::bigint" if self._is_postgresql else "?"

    async def _read(
        self, conn: AsyncConnection, which: str, bounds: tuple[Any, ...], where: str, limit: int | None = None
    ) -> list[Values]:
        more = f" AND {where}" if where else ""
        end = f" LIMIT {limit:d}" if limit is not None else ""
        statement = f"{self._kind.selected} WHERE {which}{more} ORDER BY {self._kind.order}{end}"
        return [tuple(row) for row in await conn.exec_driver_sql(statement, bounds)]


@cache
def readers_of(dialect: str) -> Mapping[str, RowReader]:
    """A reader for every kind."""
    return {name: RowReader(kind, dialect) for name, kind in KINDS.items()}


def microseconds(at: datetime) -> int:
    """An instant as the leaf has it."""
    return (at - _EPOCH) // _MICROSECOND


def instant(at: int) -> datetime:
    """The other way round."""
    return _EPOCH + at * _MICROSECOND


def _type_of(kind: Any) -> str:
    for known, name in _TYPES:
        if isinstance(kind, known):
            return name
    return "text"


_TYPES: tuple[tuple[type[Any], str], ...] = (
    (UtcTime, "time"),
    (Boolean, "bool"),
    (Integer, "int"),
    (LargeBinary, "bytes"),
    (Uuid, "uuid"),
    (JSON, "json"),
)


def _exactly(kind: type[Any]) -> Decode:
    def decode(value: Any) -> Any:
        if type(value) is not kind:
            raise MalformedError(f"expected {kind.__name__}, found {type(value).__name__}")
        return value

    return decode


def _content(value: Any) -> str:
    if type(value) is not bytes:
        raise MalformedError(f"expected bytes, found {type(value).__name__}")
    return hashlib.sha256(value).hexdigest()


def _json(value: Any) -> str | None:
    """Of the value: PostgreSQL's driver has read it already."""
    return None if value is None else hashlib.sha256(json_text(value)).hexdigest()


def _sqlite_json(value: Any) -> str | None:
    try:
        parsed = json.loads(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise MalformedError("expected JSON") from error
    # The text itself, as the hub writes it: a blank that became a tab says the same, and is a change all the same.
    if type(value) is not str or json.dumps(parsed) != value:
        raise MalformedError("expected JSON as the hub writes it")
    return _json(parsed)


def _sqlite_bool(value: Any) -> bool:
    if type(value) is not int or value not in (0, 1):
        raise MalformedError("expected 0 or 1")
    return value == 1


def _sqlite_time(value: Any) -> int:
    try:
        at = datetime.fromisoformat(value)
    except (TypeError, ValueError) as error:
        raise MalformedError("expected a time") from error
    # As hub/store/types.py writes it; and spelt in ASCII, which other digits are not.
    if at.tzinfo is None or at.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z" != value:
        raise MalformedError("expected a time as the hub writes it")
    return microseconds(at)


def _sqlite_uuid(value: Any) -> str:
    try:
        text = UUID(value).hex
    except (TypeError, ValueError, AttributeError) as error:
        raise MalformedError("expected an id") from error
    if text != value:
        raise MalformedError("expected an id as the hub writes it")
    return text


_SQLITE: Final[Mapping[str, Decode]] = {
    "int": _exactly(int),
    "bool": _sqlite_bool,
    "text": _exactly(str),
    "time": _sqlite_time,
    "uuid": _sqlite_uuid,
    "bytes": _content,
    "json": _sqlite_json,
}
_POSTGRESQL: Final[Mapping[str, Decode]] = {
    "int": _exactly(int),
    "bool": _exactly(bool),
    "text": _exactly(str),
    "time": microseconds,
    "uuid": lambda value: str(value).replace("-", ""),
    "bytes": _content,
    "json": _json,
}


def _part_of(kind: str, decode: Decode) -> Form:
    """A value as the leaf has it: decoded, in its form, with its length before it."""
    return lambda value: sized(field_form(kind, decode(value)))


# The same, at a third of the time: there are some sixty fields for an event with all that follows from it.
_NOTHING: Final = sized(b"N")
_TRUE, _FALSE = sized(b"B1"), sized(b"B0")
_SIZES: Final = [size.to_bytes(8, "big") for size in range(32)]
_OF_UUID: Final = (17).to_bytes(8, "big") + b"U"
_OF_HASH: Final = (33).to_bytes(8, "big") + b"H"


def _quick_int(value: Any) -> bytes:
    if type(value) is not int:
        raise MalformedError(f"expected int, found {type(value).__name__}")
    form = b"I%d" % value
    return _SIZES[len(form)] + form


def _quick_bool(value: Any) -> bytes:
    if type(value) is not bool:
        raise MalformedError(f"expected bool, found {type(value).__name__}")
    return _TRUE if value else _FALSE


def _quick_text(value: Any) -> bytes:
    if type(value) is not str:
        raise MalformedError(f"expected str, found {type(value).__name__}")
    return sized(b"S" + value.encode("utf-8", "surrogatepass"))


def _quick_time(value: datetime) -> bytes:
    form = b"I%d" % microseconds(value)
    return _SIZES[len(form)] + form


def _quick_uuid(value: UUID) -> bytes:
    return _OF_UUID + value.bytes


def _quick_bytes(value: Any) -> bytes:
    if type(value) is not bytes:
        raise MalformedError(f"expected bytes, found {type(value).__name__}")
    return _OF_HASH + hashlib.sha256(value).digest()


def _quick_json(value: Any) -> bytes:
    return _OF_HASH + hashlib.sha256(json_text(value)).digest()


_QUICK: Final[Mapping[str, Form]] = {"int": _quick_int, "text": _quick_text, "bytes": _quick_bytes}
_QUICK_POSTGRESQL: Final[Mapping[str, Form]] = {
    **_QUICK,
    "bool": _quick_bool,
    "time": _quick_time,
    "uuid": _quick_uuid,
    "json": _quick_json,
}
