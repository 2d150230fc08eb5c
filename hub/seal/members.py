"""What is sealed: members packed into few rows, and found again by kind and id.

A segment holds members of one kind whose ids lie near each other, so that one is found through an index although late
rows are sealed in later blocks.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.clock import Clock
from hub.errors import HubError
from hub.seal import tables as s
from hub.seal.kinds import KINDS, Member
from hub.store.sequences import draw
from hub.store.upserts import insert_for

LEAF_BYTES: Final = 32
_HEAD: Final = struct.Struct(">qH")
_ID: Final = struct.Struct(">q")
PRUNED_IDS_MAX: Final = 100_000
"""How many ids one row of ``seal_prunings`` may hold."""


class DamagedError(HubError, ValueError):
    """Packed members that cannot be unpacked."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Members of one kind, of neighbouring ids, in the order of id and key."""

    kind: str
    low: int
    high: int
    packed: bytes


def in_order(members: Iterable[Member]) -> list[Member]:
    """Members in the one order in which a block has them."""
    return sorted(members)


def segments_of(members: Sequence[Member]) -> list[Segment]:
    """Members in their order, packed."""
    packed: list[Segment] = []
    some: list[Member] = []
    for one in members:
        if some and (one.kind != some[0].kind or one.id - some[0].id >= KINDS[one.kind].width):
            packed.append(_packed(some))
            some = []
        some.append(one)
    return [*packed, _packed(some)] if some else packed


def _packed(members: Sequence[Member]) -> Segment:
    parts = []
    for one in members:
        key = one.key.encode("utf-8", "surrogatepass")
        parts += [_HEAD.pack(one.id, len(key)), key, one.leaf]
    return Segment(members[0].kind, members[0].id, members[-1].id, b"".join(parts))


def unpacked(kind: str, packed: bytes) -> Iterator[Member]:
    """The members of a segment. Raises DamagedError."""
    place = 0
    try:
        while place < len(packed):
            number, size = _HEAD.unpack_from(packed, place)
            place += _HEAD.size + size
            key = packed[place - size : place].decode("utf-8", "surrogatepass")
            leaf = packed[place : place + LEAF_BYTES]
            if len(leaf) != LEAF_BYTES:
                raise DamagedError("the last member is cut off")
            place += LEAF_BYTES
            yield Member(kind, number, key, leaf)
    except (struct.error, UnicodeDecodeError) as error:
        raise DamagedError(str(error)) from error


async def members_of_block(conn: AsyncConnection, number: int) -> list[Member]:
    """The members of a block, in its order. Raises DamagedError."""
    query = select(s.members.c.kind, s.members.c.packed).where(s.members.c.block == number)
    found = await conn.execute(query)
    return in_order(one for row in found for one in unpacked(row.kind, row.packed))


async def sealed_between(conn: AsyncConnection, kind: str, low: int, high: int) -> dict[tuple[int, str], int]:
    """Which rows of these ids are sealed, as (id, key), and in which block."""
    found: dict[tuple[int, str], int] = {}
    for row in await _segments(conn, s.members, kind, low, high, width=KINDS[kind].width):
        for one in unpacked(kind, row.packed):
            if low <= one.id <= high:
                found.setdefault((one.id, one.key), row.block)
    return found


async def unsealed_among(conn: AsyncConnection, kind: str, ids: Iterable[int]) -> set[int]:
    """Those of these ids that are not sealed. Of a delivery, its calls are asked for by themselves."""
    wanted = set(ids)
    for low, high in _clusters(sorted(wanted), KINDS[kind].width):
        wanted -= {number for number, _ in await sealed_between(conn, kind, low, high)}
    return wanted


def _clusters(ids: Sequence[int], width: int) -> Iterator[tuple[int, int]]:
    start = 0
    for place in range(1, len(ids) + 1):
        if place == len(ids) or ids[place] - ids[start] >= width:
            yield ids[start], ids[place - 1]
            start = place


async def _segments(
    conn: AsyncConnection, table: Any, kind: str, low: int, high: int, *, width: int
) -> Sequence[Row[Any]]:
    near = table.c.low.between(low - width, high)
    query = select(table).where(table.c.kind == kind, near, table.c.high >= low)
    return (await conn.execute(query)).all()


async def note_pending(conn: AsyncConnection, kind: str, ids: Iterable[int]) -> None:
    """Rows at which the sealer will look again."""
    rows = [{"kind": kind, "id": number} for number in sorted(set(ids))]
    if rows:
        await conn.execute(insert_for(conn.dialect.name, s.pending).on_conflict_do_nothing(), rows)


async def note_late(conn: AsyncConnection, kind: str, ids: Iterable[int]) -> None:
    """Say that rows have just been made under numbers that the sealer has passed long ago, as a replay makes them."""
    position = await conn.scalar(select(s.cursors.c.position).where(s.cursors.c.kind == kind))
    await note_pending(conn, kind, [number for number in ids if position is not None and number <= position])


async def record_pruned(conn: AsyncConnection, clock: Clock, kind: str, ids: Iterable[int], archive: str) -> None:
    """Say that these rows are deleted on purpose, and where they are kept: in the transaction that deletes them.

    A call is named by its delivery. What is deleted without this counts as tampered with.
    """
    of_cluster: defaultdict[int, list[int]] = defaultdict(list)
    width = KINDS[kind].width
    for number in sorted(set(ids)):
        of_cluster[number // width].append(number)
    rows: list[dict[str, Any]] = []
    for some in of_cluster.values():
        for start in range(0, len(some), PRUNED_IDS_MAX):
            part = some[start : start + PRUNED_IDS_MAX]
            packed = b"".join(map(_ID.pack, part))
            rows.append({"kind": kind, "low": part[0], "high": part[-1], "ids": packed, "archive": archive})
    numbers = await draw(conn, "seal_prunings_seq", len(rows))
    now = clock.now()
    if rows:
        named = [row | {"number": number, "pruned_at": now} for row, number in zip(rows, numbers, strict=True)]
        await conn.execute(insert(s.prunings), named)


async def pruned_between(conn: AsyncConnection, kind: str, low: int, high: int) -> set[int]:
    """Which of these ids were deleted on purpose."""
    found: set[int] = set()
    for row in await _segments(conn, s.prunings, kind, low, high, width=KINDS[kind].width):
        found.update(number for (number,) in _ID.iter_unpack(row.ids[: len(row.ids) // _ID.size * _ID.size]))
    return {number for number in found if low <= number <= high}
