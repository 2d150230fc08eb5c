"""The sealer: appends a block over everything that became final, and costs those who write nothing.

It reads a snapshot, hashes outside of any transaction, and commits a block of a few rows. Any process may: the row of
``seal_state`` says who does it at the moment, and a block is only appended to the head that was read, so that two who
try at once cannot both. Rows are found by their state: a cursor per kind runs behind the newest ids, what it passes
before it is final is written down and looked at again, and a sweep finds whatever came late.
Source: docs/prove.md, "How blocks are made".
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import structlog
from sqlalchemy import delete, insert, select, text, tuple_, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.clock import Clock
from hub.errors import StoreUnavailableError
from hub.prove.offline import FIRST_PREVIOUS, block_hash, root_of
from hub.seal import metrics
from hub.seal import tables as s
from hub.seal.kinds import CALL_VERDICTS, KINDS, Member, RowReader, Values, microseconds, readers_of
from hub.seal.members import DamagedError, in_order, note_pending, sealed_between, segments_of
from hub.signal import is_set_within
from hub.store.store import Store
from hub.store.upserts import insert_for
from hub.store.words import words_for_logs

CHUNK: Final = 500
"""Rows of one kind that are read at a time: so many are hashed without a pause."""
PENDING_CHUNK: Final = 500
SWEEP_CHUNK: Final = 2_000
SWEEP_REST_S: Final = 900.0
"""How long the sweep rests once it has been through everything."""
LAG_S: Final = 2.0
"""How long a row is left alone, so that transactions which drew an earlier number have committed by then."""
BUSY_SHARE: Final = 0.2
"""How much of its time the sealer works at most while it has to catch up."""
LEASE_S: Final = 10.0
HEAD_LOG_S: Final = 10.0
"""How often at most the head goes into the log."""
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


@dataclass(frozen=True, slots=True)
class Head:
    """The newest block, who seals at the moment, and how often this has changed."""

    turn: int
    number: int
    hash: bytes
    holder: UUID | None = None
    until: datetime | None = None


NO_HEAD: Final = Head(turn=0, number=0, hash=FIRST_PREVIOUS)


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


async def read_head(conn: AsyncConnection) -> Head:
    """The head of the chain."""
    row = (await conn.execute(select(s.state))).first()
    return NO_HEAD if row is None else Head(row.turn, row.number, row.hash, row.holder, row.until)


class Sealer:
    """Seals until it is stopped. Any number of these may run, in any number of processes."""

    def __init__(self, store: Store, clock: Clock, *, interval_s: float, lag_s: float = LAG_S) -> None:
        self._store = store
        self._clock = clock
        self._interval_s = interval_s
        self._lag_s = lag_s
        self._id = clock.new_id()
        self._stopping = asyncio.Event()
        self._readers = readers_of(store.dialect)
        self._seen: deque[tuple[float, Mapping[str, int]]] = deque()
        self._late: dict[tuple[str, int], float] = {}
        self._round_at = ("", 0)
        self._known_calls: set[tuple[int, str]] = set()
        self._sweep_at: dict[str, int] = {}
        self._sweep_rests_until = 0.0
        self._has_sealed = False
        self._caught_up_at = clock.monotonic()
        self._logged = (0, clock.monotonic() - HEAD_LOG_S)

    async def run(self) -> None:
        """Seal once per interval until ``stop``."""
        while not self._stopping.is_set():
            try:
                await self._turn()
            except StoreUnavailableError as error:
                log.warning("seal_paused", error=str(error))
            except DBAPIError as error:
                # What is written past the hub must not stop it; the verification says what is wrong.
                log.error("seal_failed", error=words_for_logs(error))
            except DamagedError as error:
                log.error("seal_failed", error=str(error))
            metrics.LAG_S.set(max(0.0, self._clock.monotonic() - self._caught_up_at))
            await is_set_within(self._stopping, self._interval_s)
        with suppress(StoreUnavailableError):
            await self.leave()

    def stop(self) -> None:
        """Seal no more; what is under way comes to its end."""
        self._stopping.set()

    async def leave(self) -> None:
        """Let another one seal at once, and not only after the lease is over."""
        if self._has_sealed:
            mine = update(s.state).where(s.state.c.holder == self._id).values(holder=None, until=None)
            await self._store.write(lambda conn: conn.execute(mine))
            self._has_sealed = False

    async def _turn(self) -> None:
        ends_at = self._clock.monotonic() + self._interval_s * BUSY_SHARE
        has_more = await self.seal()
        while has_more and self._clock.monotonic() < ends_at and not self._stopping.is_set():
            has_more = await self.seal()
        if not has_more:
            self._caught_up_at = self._clock.monotonic()
            await self._sweep_when_rested()

    async def seal(self) -> bool:
        """Append one block over what is final and not sealed, if there is anything; answers whether there is more."""
        async with self._store.reading() as conn:
            head = await read_head(conn)
            self._tell(head)
            if head.holder not in (None, self._id) and head.until is not None and head.until > self._clock.now():
                return False
            batch = await self._look(conn, self._ripe(await self._tops(conn)))
        if not batch:
            self._settle_late(batch)
            return False
        new = await self._append(batch, head)
        if new is None:
            return True
        self._has_sealed = True
        self._settle_late(batch)
        for kind, count in Counter(one.kind for one in batch.members).items():
            metrics.SEALED.labels(kind=kind).inc(count)
        self._tell(new)
        return batch.is_full

    # --- finding --------------------------------------------------------------------------------------------------

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
        if self._store.dialect == "postgresql" and kind in NUMBERED and len(self._late) < LATE_MAX:
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
        batch.members += _sealable(reader, final)
        batch.passed += [(kind, reader.id(row)) for row in rows if not reader.is_plainly_final(row)]
        if kind in COMPANIONS:
            companion, column = COMPANIONS[kind]
            its = self._readers[companion]
            batch.members += _sealable(its, await its.of(conn, map(reader.id, final), by=column))

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
                batch.members += _sealable(self._readers["call"], await self._unsealed_calls(conn, early))

    async def _take_pending(self, conn: AsyncConnection, batch: Batch, kind: str, final: Sequence[Values]) -> None:
        reader = self._readers[kind]
        rows = await self._unsealed(conn, kind, final)
        batch.members += _sealable(reader, rows)
        if kind in COMPANIONS:
            companion, column = COMPANIONS[kind]
            its = await self._readers[companion].of(conn, map(reader.id, final), by=column)
            batch.members += _sealable(self._readers[companion], await self._unsealed(conn, companion, its))

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

    def _settle_late(self, batch: Batch) -> None:
        now = self._clock.monotonic()
        self._late = {name: until for name, until in self._late.items() if until > now and name not in batch.found}
        for kind, numbers in batch.missing.items():
            self._late |= {(kind, number): now + LATE_S for number in numbers}

    # --- appending ------------------------------------------------------------------------------------------------

    async def _append(self, batch: Batch, head: Head) -> Head | None:
        """Commit the block and the bookkeeping; None when somebody else has changed the head meanwhile."""
        now = self._clock.now()
        # A call may have been found by itself and with its delivery.
        members = in_order({(one.kind, one.id, one.key): one for one in batch.members}.values())
        new = replace(head, turn=head.turn + 1, holder=self._id, until=now + timedelta(seconds=LEASE_S))
        block: dict[str, Any] | None = None
        if members:
            root = root_of([one.node for one in members])
            number, count = head.number + 1, len(members)
            hash_ = block_hash(number=number, previous=head.hash, root=root, members=count, sealed_at=microseconds(now))
            block = {"number": number, "previous": head.hash, "root": root, "members": count, "sealed_at": now}
            block["hash"] = hash_
            new = replace(new, number=number, hash=hash_)
        segments = segments_of(members)

        async def work(conn: AsyncConnection) -> bool:
            if not await _still_at(conn, head):
                return False
            if block is not None:
                await conn.execute(insert(s.blocks), [block])
                rows = [
                    {"block": block["number"], "kind": one.kind, "low": one.low, "high": one.high, "packed": one.packed}
                    for one in segments
                ]
                await conn.execute(insert(s.members), rows)
            await _write_bookkeeping(conn, batch)
            values = {"turn": new.turn, "number": new.number, "hash": new.hash, "holder": new.holder}
            await conn.execute(update(s.state).values(values | {"until": new.until}))
            return True

        return new if await self._store.write(work) else None

    def _tell(self, head: Head) -> None:
        metrics.HEAD_NUMBER.set(head.number)
        metrics.HEAD_HASH.set(int.from_bytes(head.hash[:6], "big"))
        number, at = self._logged
        now = self._clock.monotonic()
        if head.number != number and now - at >= HEAD_LOG_S:
            self._logged = (head.number, now)
            log.info("seal_head_advanced", number=head.number, hash=head.hash.hex())

    # --- the sweep ------------------------------------------------------------------------------------------------

    async def _sweep_when_rested(self) -> None:
        if self._clock.monotonic() >= self._sweep_rests_until and not await self.sweep():
            self._sweep_rests_until = self._clock.monotonic() + SWEEP_REST_S

    async def sweep(self) -> bool:
        """Compare some rows that the cursors have passed with what is sealed; False once all have been looked at.

        What is final and was overlooked is written down, to be sealed in one of the next blocks.
        """
        async with self._store.reading() as conn:
            positions = {row.kind: row.position for row in await conn.execute(select(s.cursors))}
            for kind in KINDS:
                found = await self._sweep_kind(conn, kind, positions)
                if found is not None:
                    break
            else:
                self._sweep_at.clear()
                return False
        if found:
            log.warning("seal_overlooked", kind=kind, count=len(found))
            await self._store.write(lambda conn: note_pending(conn, kind, found))
        return True

    async def _sweep_kind(self, conn: AsyncConnection, kind: str, positions: Mapping[str, int]) -> list[int] | None:
        """Ids that were overlooked among the next rows of this kind; None where there are no more rows."""
        reader, low = self._readers[kind], self._sweep_at.get(kind, 0)
        bound = positions.get(cursor_of(kind), 0)
        rows = await _ids_after(conn, reader, kind, low, bound)
        if not rows:
            return None
        high = rows[-1][0]
        self._sweep_at[kind] = high
        sealed = await sealed_between(conn, kind, rows[0][0], high)
        # A call is looked at with its delivery.
        kinds = (kind, "delivery") if kind == "call" else (kind,)
        query = select(s.pending.c.id).where(s.pending.c.kind.in_(kinds), s.pending.c.id.between(rows[0][0], high))
        noted = set((await conn.scalars(query)).all())
        return sorted({number for number, key in rows if (number, key) not in sealed and number not in noted})


def _sealable(reader: RowReader, rows: Sequence[Values]) -> list[Member]:
    """The rows as members; one that holds what the hub never writes is left out, and the verification names it."""
    members = []
    for row in rows:
        try:
            members.append(reader.member(row))
        except ValueError as error:
            log.error("seal_row_malformed", kind=reader.name, id=reader.id(row), error=str(error))
    return members


def cursor_of(kind: str) -> str:
    """The kind whose cursor says how far this one has been sealed."""
    return next((leader for leader, (companion, _) in COMPANIONS.items() if companion == kind), kind)


def passed(kind: str, position: int) -> str:
    """The condition on final rows of a kind that its cursor has passed, as SQL."""
    # Moves are bounded by their entries.
    column = next((column for companion, column in COMPANIONS.values() if companion == kind), KINDS[kind].id)
    return f't."{column}" <= {position:d} AND {KINDS[kind].final}'


async def _ids_after(
    conn: AsyncConnection, reader: RowReader, kind: str, low: int, bound: int
) -> list[tuple[int, str]]:
    """Ids and keys of the next final rows, whole ids only."""
    of = KINDS[kind]
    names = ", ".join(f't."{name}"' for name in (of.id, *of.key))
    where = f't."{of.id}" > {low:d} AND {passed(kind, bound)}'
    # S608: names of our own tables and columns, and numbers.
    query = f'SELECT {names} FROM "{of.table.name}" AS t WHERE {where} ORDER BY {of.order} LIMIT {SWEEP_CHUNK}'  # noqa: S608
    rows = [(row[0], "#".join(map(str, row[1:]))) for row in await conn.exec_driver_sql(query)]
    if len(rows) == SWEEP_CHUNK and rows[0][0] != rows[-1][0]:
        # The last one may have more keys than were read.
        rows = [row for row in rows if row[0] != rows[-1][0]]
    return rows


async def _still_at(conn: AsyncConnection, head: Head) -> bool:
    if head.turn == 0:
        first = {"id": 1, "turn": 0, "number": 0, "hash": FIRST_PREVIOUS}
        await conn.execute(insert_for(conn.dialect.name, s.state).on_conflict_do_nothing(), [first])
    turn = await conn.scalar(select(s.state.c.turn).with_for_update())
    return bool(turn == head.turn)


async def _write_bookkeeping(conn: AsyncConnection, batch: Batch) -> None:
    if batch.positions:
        new = insert_for(conn.dialect.name, s.cursors)
        later = new.on_conflict_do_update(index_elements=["kind"], set_={"position": new.excluded.position})
        rows = [{"kind": kind, "position": position} for kind, position in sorted(batch.positions.items())]
        await conn.execute(later, rows)
    for kind in sorted({kind for kind, _ in batch.settled}):
        ids = [number for name, number in batch.settled if name == kind]
        await conn.execute(delete(s.pending).where(s.pending.c.kind == kind, s.pending.c.id.in_(ids)))
    for kind in sorted({kind for kind, _ in batch.passed}):
        await note_pending(conn, kind, [number for name, number in batch.passed if name == kind])
