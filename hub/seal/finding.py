"""What is final and not sealed, wherever it lies: a cursor per kind, and what it has passed too early.

Rows are found by their state: a cursor per kind runs behind the newest ids, what it passes before it is final is
written down and looked at again, and numbers that were drawn and not seen are looked for.
Source: docs/prove.md, "How blocks are made".
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog
from sqlalchemy import select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.clock import Clock
from hub.seal import tables as s
from hub.seal.kinds import CALL_VERDICTS, KINDS, Member, RowReader, Values, readers_of
from hub.seal.members import sealed_between

CHUNK: Final = 500
"""Rows of one kind that are read at a time."""
ROWS_PER_TURN: Final = 25
"""After so many are hashed others have their turn. A delivery asks for it a dozen times, and would wait each time."""
PENDING_CHUNK: Final = 500
LATE_S: Final = 60.0
LATE_MAX: Final = 5_000
"""How many numbers that were drawn and not seen are looked for, each for ``LATE_S``; the sweep finds the rest."""
KNOWN_CALLS_MAX: Final = 50_000

SERIAL: Final = ("account", "event", "delivery", "entry", "message", "pruning")
"""Kinds with a cursor. Moves come with their entries, calls with their deliveries."""
NUMBERED: Final = ("account", "event", "entry", "message")
"""Kinds whose ids come from a sequence without gaps, except where a transaction is late or was rolled back."""
COMPANIONS: Final[Mapping[str, tuple[str, str]]] = {"entry": ("move", "entry_id"), "delivery": ("call", "delivery_id")}

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Batch:
    """What one look has found: ``members`` for the next block, and how the bookkeeping changes with it."""

    members: list[Member] = field(default_factory=list)
    positions: dict[str, int] = field(default_factory=dict)
    passed: list[tuple[str, int]] = field(default_factory=list)
    settled: list[tuple[str, int]] = field(default_factory=list)
    missing: dict[str, list[int]] = field(default_factory=dict)
    found: set[tuple[str, int]] = field(default_factory=set)
    is_full: bool = False

    def __bool__(self) -> bool:
        return bool(self.members or self.positions or self.passed or self.settled)


class Finder:
    """Looks from where the cursors stand. What it remembers besides saves work; nothing depends on it."""

    def __init__(self, dialect: str, clock: Clock, *, lag_s: float) -> None:
        self._clock = clock
        self._lag_s = lag_s
        self._is_postgresql = dialect == "postgresql"
        self._readers = readers_of(dialect)
        self._seen: deque[tuple[float, Mapping[str, int]]] = deque()
        self._late: dict[tuple[str, int], float] = {}
        self._round_at = ("", 0)
        self._known_calls: set[tuple[int, str]] = set()

    async def look(self, conn: AsyncConnection) -> Batch:
        """What the next block may seal. ``settle_late`` is told when that has been written, or there was nothing."""
        return await self._look(conn, self._ripe(await self._tops(conn)))

    @property
    def is_waiting(self) -> bool:
        """Whether it looks for numbers that were drawn and not seen."""
        return bool(self._late)

    def settle_late(self, batch: Batch) -> None:
        """Remember which numbers were not there."""
        now = self._clock.monotonic()
        self._late = {name: until for name, until in self._late.items() if until > now and name not in batch.found}
        for kind, numbers in batch.missing.items():
            self._late |= {(kind, number): now + LATE_S for number in numbers}

    async def _tops(self, conn: AsyncConnection) -> Mapping[str, int]:
        tops = [f'(SELECT max("{KINDS[kind].id}") FROM "{KINDS[kind].table.name}")' for kind in SERIAL]  # noqa: S608 - our names
        row = (await conn.execute(text("SELECT " + ", ".join(tops)))).one()
        return {kind: top or 0 for kind, top in zip(SERIAL, row, strict=True)}

    def _ripe(self, tops: Mapping[str, int]) -> Mapping[str, int]:
        """The newest ids as they were ``lag_s`` ago."""
        now = self._clock.monotonic()
        self._seen.append((now, tops))
        while len(self._seen) > 1 and self._seen[1][0] <= now - self._lag_s:
            self._seen.popleft()
        at, ripe = self._seen[0]
        return ripe if at <= now - self._lag_s else {}

    async def _look(self, conn: AsyncConnection, ripe: Mapping[str, int]) -> Batch:
        batch = Batch()
        stored = await conn.execute(select(s.cursors.c.kind, s.cursors.c.position))
        positions = {row.kind: row.position for row in stored}
        for kind in SERIAL:
            if ripe.get(kind, 0) > positions.get(kind, 0):
                await self._read_on(conn, batch, kind, positions.get(kind, 0), ripe[kind])
                # The loop belongs to others as well.
                await asyncio.sleep(0)
        await self._look_for_late(conn, batch, positions)
        await self._look_again(conn, batch, positions)
        return batch

    async def _read_on(self, conn: AsyncConnection, batch: Batch, kind: str, position: int, top: int) -> None:
        reader = self._readers[kind]
        rows = await reader.between(conn, position + 1, top, limit=CHUNK)
        is_full = len(rows) == CHUNK
        reached = reader.id(rows[-1]) if is_full else top
        batch.is_full |= is_full
        batch.positions[kind] = reached
        ids = [reader.id(row) for row in rows]
        if self._is_postgresql and kind in NUMBERED and len(self._late) < LATE_MAX:
            # Numbers of transactions that are not done, or were rolled back. SQLite has one writer: none is late.
            there, room = set(ids), LATE_MAX - len(self._late)
            span = range(position + 1, min(reached, position + 4 * CHUNK) + 1)
            batch.missing[kind] = [number for number in span if number not in there][:room]
        noted = select(s.pending.c.id).where(s.pending.c.kind == kind, s.pending.c.id.between(position + 1, reached))
        batch.settled += [(kind, number) for number in set(ids) & set((await conn.scalars(noted)).all())]
        await self._take(conn, batch, kind, rows)

    async def _take(self, conn: AsyncConnection, batch: Batch, kind: str, rows: Sequence[Values]) -> None:
        """Seal the rows that are final, with their companions, and write the others down."""
        reader = self._readers[kind]
        final = [row for row in rows if reader.is_plainly_final(row)]
        batch.members += await sealable(reader, final)
        batch.passed += [(kind, reader.id(row)) for row in rows if not reader.is_plainly_final(row)]
        if kind in COMPANIONS:
            companion, column = COMPANIONS[kind]
            its = self._readers[companion]
            batch.members += await sealable(its, await its.of(conn, map(reader.id, final), by=column))

    async def _look_for_late(self, conn: AsyncConnection, batch: Batch, positions: Mapping[str, int]) -> None:
        """Rows whose number was drawn before the cursor came by, and which were committed after."""
        for kind in NUMBERED:
            wanted = [number for name, number in self._late if name == kind]
            rows = await self._unsealed(conn, kind, await self._readers[kind].of(conn, wanted))
            numbers = [self._readers[kind].id(row) for row in rows]
            batch.found.update((kind, number) for number in numbers)
            await self._take(conn, batch, kind, rows)
            if kind == "event" and numbers:
                theirs = await self._readers["delivery"].of(conn, numbers, by="event_seq")
                passed = [row for row in theirs if self._readers["delivery"].id(row) <= positions.get("delivery", 0)]
                await self._take(conn, batch, "delivery", await self._unsealed(conn, "delivery", passed))

    async def _look_again(self, conn: AsyncConnection, batch: Batch, positions: Mapping[str, int]) -> None:
        """Some of the rows that were not final when the cursor passed, each in its turn."""
        place = tuple_(s.pending.c.kind, s.pending.c.id)
        query = select(s.pending).where(place > tuple_(*self._round_at)).order_by(s.pending.c.kind, s.pending.c.id)
        noted = (await conn.execute(query.limit(PENDING_CHUNK))).all()
        self._round_at = (noted[-1].kind, noted[-1].id) if len(noted) == PENDING_CHUNK else ("", 0)
        for kind in sorted({row.kind for row in noted}):
            bound = positions.get(kind, 0) if kind in SERIAL else None
            ids = [row.id for row in noted if row.kind == kind and (bound is None or row.id <= bound)]
            final = await self._readers[kind].of(conn, ids, where=KINDS[kind].final)
            batch.settled += [(kind, number) for number in {self._readers[kind].id(row) for row in final}]
            await self._take_pending(conn, batch, kind, final)
            if kind == "delivery":
                # The money has moved, however long the rest of the delivery takes.
                verdicts = await self._readers["call"].of(conn, ids, where=f"t.state IN {CALL_VERDICTS!r}")
                ended = {self._readers[kind].id(row) for row in final}
                early = [row for row in verdicts if self._readers["call"].id(row) not in ended]
                batch.members += await sealable(self._readers["call"], await self._unsealed_calls(conn, early))

    async def _take_pending(self, conn: AsyncConnection, batch: Batch, kind: str, final: Sequence[Values]) -> None:
        reader = self._readers[kind]
        rows = await self._unsealed(conn, kind, final)
        batch.members += await sealable(reader, rows)
        if kind in COMPANIONS:
            companion, column = COMPANIONS[kind]
            its = await self._readers[companion].of(conn, map(reader.id, final), by=column)
            batch.members += await sealable(self._readers[companion], await self._unsealed(conn, companion, its))

    async def _unsealed(self, conn: AsyncConnection, kind: str, rows: Sequence[Values]) -> list[Values]:
        if not rows:
            return []
        reader, width = self._readers[kind], KINDS[kind].width
        left: list[Values] = []
        for cluster in sorted({reader.id(row) // width for row in rows}):
            some = [row for row in rows if reader.id(row) // width == cluster]
            ids = [reader.id(row) for row in some]
            sealed = await sealed_between(conn, kind, min(ids), max(ids))
            left += [row for row in some if (reader.id(row), reader.key(row)) not in sealed]
        return left

    async def _unsealed_calls(self, conn: AsyncConnection, rows: Sequence[Values]) -> list[Values]:
        """Of calls that are asked about in every round: what is known to be sealed is not looked up again."""
        reader = self._readers["call"]
        named = {(reader.id(row), reader.key(row)): row for row in rows}
        asked = [row for name, row in named.items() if name not in self._known_calls]
        left = await self._unsealed(conn, "call", asked)
        if len(self._known_calls) + len(named) > KNOWN_CALLS_MAX:
            self._known_calls.clear()
        unsealed = {(reader.id(row), reader.key(row)) for row in left}
        self._known_calls |= named.keys() - unsealed
        return left


async def sealable(reader: RowReader, rows: Sequence[Values]) -> list[Member]:
    """The rows as members; one that holds what the hub never writes is left out, and the verification names it."""
    members = []
    for place, row in enumerate(rows):
        if place % ROWS_PER_TURN == ROWS_PER_TURN - 1:
            await asyncio.sleep(0)
        try:
            members.append(reader.member(row))
        except ValueError as error:
            log.error("seal_row_malformed", kind=reader.name, id=reader.id(row), error=str(error))
    return members
