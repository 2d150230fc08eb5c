"""Holds the tables against the seal: every changed byte, deleted row, broken block and cut tail is named.

One block at a time, each in a snapshot of its own, so that a verification of any length holds nothing up.
Source: docs/prove.md, "Verifying".
"""

# ruff: noqa: S608 - these texts are put together from the names of tables and columns
from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.errors import UsageError
from hub.prove.offline import FIRST_PREVIOUS, block_hash, root_of
from hub.seal import tables as s
from hub.seal.chain import read_head
from hub.seal.kinds import KINDS, Kind, Member, RowReader, Values, instant, microseconds, readers_of
from hub.seal.members import DamagedError, in_order, pruned_between, sealed_between, unpacked
from hub.seal.numbers import Numbers
from hub.seal.sweeping import cursor_of, passed
from hub.store.store import Store
from hub.store.tables_archive import archived

FINDINGS_MAX: Final = 1_000
"""How many findings are listed; the others are counted."""
BLOCKS_AT_ONCE: Final = 100
HEAD_CHARS_MIN: Final = 12
BLOCK: Final = Kind("block", s.blocks, "number", "1 = 1")
EVENT: Final = "event"
ROWS_MAX: Final = 2_000
"""How many rows are read at a time."""


@dataclass(frozen=True, slots=True)
class SealFinding:
    """Something that is not as it was sealed. ``sort``: changed, deleted, unreadable, block, chain, head."""

    sort: str
    subject: str
    detail: str


@dataclass(slots=True)
class SealReport:
    """What a verification found. ``unsealed``: final rows that no block holds yet, by kind."""

    blocks: int = 0
    members: int = 0
    pruned: int = 0
    head: str = ""
    head_number: int = 0
    head_sealed_at: datetime | None = None
    behind_given_head: int | None = None
    unsealed: dict[str, int] = field(default_factory=dict)
    findings: list[SealFinding] = field(default_factory=list)
    more_findings: int = 0
    present: Counter[str] = field(default_factory=Counter, repr=False)
    """How many sealed rows were found, by kind."""
    pruned_events: Numbers = field(default_factory=Numbers, repr=False)
    """Those that are gone and were written down as pruned."""

    @property
    def holds(self) -> bool:
        return not self.findings

    def add(self, sort: str, subject: str, detail: str) -> None:
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(SealFinding(sort, subject, detail))
        else:
            self.more_findings += 1


async def verify_seal(store: Store, *, head: str | None = None) -> SealReport:
    """Compare everything that is sealed with what is stored.

    ``head``: a hash of the log, or its first 12 hex digits or more: some block must have it, or the chain was cut or
    made anew since. Raises UsageError for a ``head`` that is none.
    """
    wanted = _as_head(head)
    report = SealReport()
    readers = readers_of(store.dialect)
    number, previous = 0, FIRST_PREVIOUS
    while True:
        async with store.reading() as conn:
            query = select(s.blocks.c.number).where(s.blocks.c.number > number).order_by(s.blocks.c.number)
            numbers = (await conn.scalars(query.limit(BLOCKS_AT_ONCE))).all()
        for found in numbers:
            if found != number + 1:
                report.add("chain", f"block {number + 1}", f"missing: the next one is {found}")
            async with store.reading() as conn:
                block = await _block(conn, found, report)
                if block is not None:
                    if found == number + 1 and block.previous != previous:
                        report.add("chain", f"block {found}", "does not name the hash of the block before it")
                    await _verify_block(conn, readers, block, report)
            number, previous = found, block.hash if block is not None else b""
            report.blocks += 1
            if block is not None:
                report.head, report.head_number, report.head_sealed_at = block.hash.hex(), found, block.sealed_at
                if wanted and report.head.startswith(wanted):
                    report.behind_given_head = found
        if not numbers:
            break
    async with store.reading() as conn:
        await _verify_archived(conn, report)
        await _verify_head(conn, report, wanted)
        report.unsealed = await _unsealed(conn, report.present)
    await _verify_passed(store, readers, report)
    return report


def _as_head(head: str | None) -> str | None:
    if head is None:
        return None
    text = head.strip().lower()
    if not HEAD_CHARS_MIN <= len(text) <= 64 or set(text) - set("0123456789abcdef"):
        raise UsageError(f"--head: expected {HEAD_CHARS_MIN} to 64 hex digits of a block's hash, found {head[:80]!r}")
    return text


@dataclass(frozen=True, slots=True)
class _Block:
    number: int
    previous: bytes
    root: bytes
    members: int
    sealed_at: datetime
    hash: bytes


async def _block(conn: AsyncConnection, number: int, report: SealReport) -> _Block | None:
    """The block of this number; None, and reported, where it holds what no sealer writes."""
    reader = RowReader(BLOCK, conn.dialect.name)
    try:
        [row] = await reader.of(conn, [number])
        stored = reader.stored(row)
        raw = dict(zip(BLOCK.columns, stored.raw, strict=True))
        raw["sealed_at"] = instant(stored["sealed_at"])
        return _Block(**raw)
    except (DBAPIError, ValueError, TypeError) as error:
        if conn.dialect.name == "postgresql":
            raise
        report.add("block", f"block {number}", f"cannot be read: {type(error).__name__}")
        return None


async def _segments(conn: AsyncConnection, number: int, report: SealReport) -> Sequence[Row[Any]]:
    query = select(s.members).where(s.members.c.block == number).order_by(s.members.c.kind, s.members.c.low)
    try:
        return (await conn.execute(query)).all()
    except DBAPIError as error:
        if conn.dialect.name == "postgresql":
            raise
        report.add("block", f"block {number}", f"its members cannot be read: {type(error).__name__}")
        return ()


async def _verify_block(
    conn: AsyncConnection, readers: Mapping[str, RowReader], block: _Block, report: SealReport
) -> None:
    name = f"block {block.number}"
    segments = await _segments(conn, block.number, report)
    members: list[Member] = []
    for segment in segments:
        try:
            of_segment = list(unpacked(segment.kind, segment.packed))
        except DamagedError as error:
            report.add("block", name, f"the members {segment.kind} from {segment.low} are damaged: {error}")
            continue
        if segment.kind not in KINDS or not of_segment:
            report.add("block", name, f"members of the kind {segment.kind!r}, which are not known")
            continue
        if (segment.low, segment.high) != (of_segment[0].id, of_segment[-1].id):
            report.add("block", name, f"the members {segment.kind} are not those from {segment.low} to {segment.high}")
        members += of_segment
    if not members or len(members) != block.members or root_of([one.node for one in in_order(members)]) != block.root:
        report.add("block", name, "its members are not those that were sealed")
    found = block_hash(
        number=block.number,
        previous=block.previous,
        root=block.root,
        members=block.members,
        sealed_at=microseconds(block.sealed_at),
    )
    if found != block.hash:
        report.add("block", name, "has another hash than its content")
    report.members += len(members)
    for kind in sorted({one.kind for one in members}):
        await _verify_rows(conn, readers[kind], [one for one in members if one.kind == kind], report, name)


async def _verify_rows(
    conn: AsyncConnection,
    reader: RowReader,
    members: Sequence[Member],
    report: SealReport,
    block: str,
) -> None:
    """The rows of these members of one kind, some ids at a time."""
    kind = reader.name
    ids = sorted({one.id for one in members})
    expected = {(one.id, one.key): one.leaf for one in members}
    gone: list[tuple[int, str]] = []
    for start in range(0, len(ids), ROWS_MAX):
        some = set(ids[start : start + ROWS_MAX])
        rows = await _readable(conn, reader, sorted(some), report)
        for name in (one for one in expected if one[0] in some):
            row = rows.get(name)
            if row is None:
                gone.append(name)
                continue
            report.present[kind] += 1
            if row is _UNREADABLE:
                continue
            try:
                leaf = reader.member(row).leaf
            except ValueError as error:
                report.add("changed", _named(kind, name), f"{error}; sealed in {block}")
                continue
            if leaf != expected[name]:
                report.add("changed", _named(kind, name), f"is not what {block} has sealed")
    if gone:
        numbers = [number for number, _ in gone]
        pruned = await pruned_between(conn, kind, min(numbers), max(numbers))
        report.pruned += sum(number in pruned for number in numbers)
        for name in gone:
            if name[0] in pruned and kind == EVENT:
                report.pruned_events.add(name[0])
            elif name[0] not in pruned:
                report.add("deleted", _named(kind, name), f"was sealed in {block} and is not there")


_UNREADABLE: Final[Values] = ("unreadable",)


async def _readable(
    conn: AsyncConnection, reader: RowReader, ids: Sequence[int], report: SealReport
) -> dict[tuple[int, str], Values]:
    """The rows by id and key; what the driver cannot even read is reported, and stands as such."""
    try:
        return {(reader.id(row), reader.key(row)): row for row in await reader.of(conn, ids)}
    except (DBAPIError, ValueError) as error:
        if conn.dialect.name == "postgresql" or len(ids) == 0:
            raise
        if len(ids) == 1:
            found = await _unreadable(conn, reader, ids[0])
            for name in found:
                report.add("unreadable", _named(reader.name, name), type(error).__name__)
            return found
        half = len(ids) // 2
        first = await _readable(conn, reader, ids[:half], report)
        return first | await _readable(conn, reader, ids[half:], report)


async def _unreadable(conn: AsyncConnection, reader: RowReader, number: int) -> dict[tuple[int, str], Values]:
    kind = KINDS[reader.name]
    names = ", ".join(f'CAST("{name}" AS BLOB)' for name in kind.key) or "1"
    rows = await conn.exec_driver_sql(f'SELECT {names} FROM "{kind.table.name}" WHERE "{kind.id}" = ?', (number,))
    found: dict[tuple[int, str], Values] = {}
    for row in rows:
        key = "#".join(bytes(part).decode("utf-8", "replace") for part in row) if kind.key else ""
        found[number, key] = _UNREADABLE
    return found


def _named(kind: str, name: tuple[int, str]) -> str:
    return f"{kind} {name[0]}" + (f" {name[1]}" if name[1] else "")


async def _verify_archived(conn: AsyncConnection, report: SealReport) -> None:
    """Each event that was pruned must be in the archive: a row of ``seal_prunings`` alone proves nothing.

    Rows of ``archived`` are never taken away, so that one look after all blocks is enough.
    """
    if not report.pruned_events:
        return
    query = select(archived.c.event_seq).where(archived.c.event_seq.is_not(None))
    found = await conn.stream(query, execution_options={"yield_per": ROWS_MAX})
    try:
        async for (number,) in found:
            # SQLite keeps whatever somebody writes there.
            if isinstance(number, int):
                report.pruned_events.discard(number)
    finally:
        await found.close()
    for number in report.pruned_events:
        report.pruned -= 1
        report.add(
            "deleted", _named(EVENT, (number, "")), "was written down as pruned and is in no object of the archive"
        )


async def _verify_head(conn: AsyncConnection, report: SealReport, wanted: str | None) -> None:
    head = await read_head(conn)
    if head.number < report.head_number or (
        head.number == report.head_number and report.head and head.hash.hex() != report.head
    ):
        report.add("head", f"block {head.number}", "the head on record is not the newest block")
    elif head.number > report.head_number:
        newest = await conn.scalar(select(func.max(s.blocks.c.number))) or 0
        if newest < head.number:
            report.add("head", f"block {head.number}", f"the tail is cut off: the newest block is {newest}")
    if wanted is not None and report.behind_given_head is None:
        report.add("head", wanted, "no block has this hash: the tail was cut off, or the chain was made anew")
    elif report.behind_given_head is not None:
        report.behind_given_head = report.head_number - report.behind_given_head


async def _unsealed(conn: AsyncConnection, present: Mapping[str, int]) -> dict[str, int]:
    """Final rows that are in no block, by kind."""
    left = {}
    for name, kind in KINDS.items():
        count = await conn.exec_driver_sql(f'SELECT count(*) FROM "{kind.table.name}" AS t WHERE {kind.final}')
        left[name] = max(0, int(count.scalar_one()) - present[name])
    return left


async def _verify_passed(store: Store, readers: Mapping[str, RowReader], report: SealReport) -> None:
    """Name the final rows that the sealer has passed and no block can hold: in them is what the hub never writes."""
    async with store.reading() as conn:
        positions = {row.kind: row.position for row in await conn.execute(select(s.cursors))}
        behind = {name: passed(name, positions.get(cursor_of(name), 0)) for name in KINDS if report.unsealed[name]}
        for name, where in tuple(behind.items()):
            count = await conn.exec_driver_sql(f'SELECT count(*) FROM "{KINDS[name].table.name}" AS t WHERE {where}')
            if count.scalar_one() <= report.present[name]:
                # As a rule: only the last seconds are without a block, and nothing more is read.
                del behind[name]
    for name, where in behind.items():
        ids: Sequence[int] = (-1,)
        while ids:
            async with store.reading() as conn:
                ids = await _passed_after(conn, KINDS[name], ids[-1], where)
                if ids:
                    await _verify_unsealed(conn, readers[name], ids, report)


async def _passed_after(conn: AsyncConnection, kind: Kind, number: int, where: str) -> Sequence[int]:
    query = f'SELECT DISTINCT t."{kind.id}" FROM "{kind.table.name}" AS t WHERE t."{kind.id}" > {number:d} AND {where}'
    rows = await conn.exec_driver_sql(f'{query} ORDER BY t."{kind.id}" LIMIT {ROWS_MAX}')
    return [row[0] for row in rows]


async def _verify_unsealed(conn: AsyncConnection, reader: RowReader, ids: Sequence[int], report: SealReport) -> None:
    try:
        sealed = await sealed_between(conn, reader.name, ids[0], ids[-1])
    except DamagedError:
        return  # the block is named already
    except DBAPIError:
        if conn.dialect.name == "postgresql":
            raise
        return  # as above
    # What is sealed and cannot be read was named with its block.
    rows = await _readable(conn, reader, ids, SealReport())
    for name in sorted(rows.keys() - sealed.keys()):
        if rows[name] is _UNREADABLE:
            report.add("unreadable", _named(reader.name, name), "cannot be read, and is in no block")
            continue
        try:
            reader.member(rows[name])
        except ValueError as error:
            report.add("unreadable", _named(reader.name, name), f"{error}; no block can hold it")
