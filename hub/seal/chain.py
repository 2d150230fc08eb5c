"""The chain of blocks: its head, who may append to it at the moment, and the next block.

One seals at a time, by a lease on the row of ``seal_state``; the others only look whether it is over. A block is only
appended to the head that was read, so that two who take each other for gone cannot both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.clock import Clock
from hub.prove.offline import FIRST_PREVIOUS, block_hash, root_of
from hub.seal import tables as s
from hub.seal.finding import Batch
from hub.seal.kinds import Member, microseconds
from hub.seal.members import in_order, note_pending, segments_of
from hub.store.store import Store
from hub.store.upserts import insert_for

LEASE_S: Final = 10.0
RENEWED_S: Final = LEASE_S / 2
"""So long before its end a lease is renewed where no block has done it."""
AHEAD_S_MAX: Final = 2 * LEASE_S
"""A lease that ends later than this is one by a clock that ran ahead, and counts as over: else nobody would seal."""
BRANCH_MEMBERS: Final = 64
"""After so many members of a tree others have their turn; a power of two, so that each piece is a branch of it."""


@dataclass(frozen=True, slots=True)
class Head:
    """The newest block, who seals at the moment, and how often this has changed."""

    turn: int
    number: int
    hash: bytes
    holder: UUID | None = None
    until: datetime | None = None


NO_HEAD: Final = Head(turn=0, number=0, hash=FIRST_PREVIOUS)


async def read_head(conn: AsyncConnection) -> Head:
    """The head of the chain."""
    row = (await conn.execute(select(s.state))).first()
    return NO_HEAD if row is None else Head(row.turn, row.number, row.hash, row.holder, row.until)


class Chain:
    """The chain of one database, as one who may append to it sees it."""

    def __init__(self, store: Store, clock: Clock, me: UUID) -> None:
        self._store = store
        self._clock = clock
        self._me = me

    def is_others(self, head: Head) -> bool:
        """Whether somebody else seals at the moment."""
        return head.holder not in (None, self._me) and _lasts(head, self._clock.now())

    def is_held(self, head: Head | None) -> bool:
        """Whether this one seals, from this head on, and need not renew its lease yet."""
        if head is None or head.holder != self._me:
            return False
        return _lasts(head, self._clock.now(), at_least_s=RENEWED_S)

    async def hold(self, head: Head) -> Head | None:
        """Be the one who seals, from this head on; None where somebody else was faster."""
        if self.is_held(head):
            return head
        held = self._next(head, self._clock.now())

        async def work(conn: AsyncConnection) -> bool:
            return await _still_at(conn, head) and await _write_head(conn, held)

        return held if await self._store.write(work) else None

    async def append(self, batch: Batch, head: Head) -> Head | None:
        """Commit the block and the bookkeeping; None when somebody else has changed the head meanwhile."""
        now = self._clock.now()
        # A call may have been found by itself and with its delivery.
        members = in_order({(one.kind, one.id, one.key): one for one in batch.members}.values())
        new = self._next(head, now)
        block: dict[str, Any] | None = None
        if members:
            root = await root_in_pieces(members)
            number, count = head.number + 1, len(members)
            hash_ = block_hash(number=number, previous=head.hash, root=root, members=count, sealed_at=microseconds(now))
            block = {"number": number, "previous": head.hash, "root": root, "members": count, "sealed_at": now}
            block["hash"] = hash_
            new = replace(new, number=number, hash=hash_)
        await asyncio.sleep(0)
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
            return await _write_head(conn, new)

        return new if await self._store.write(work) else None

    async def leave(self) -> None:
        """Let another one seal at once, and not only after the lease is over."""
        mine = update(s.state).where(s.state.c.holder == self._me).values(holder=None, until=None)
        await self._store.write(lambda conn: conn.execute(mine))

    def _next(self, head: Head, now: datetime) -> Head:
        return replace(head, turn=head.turn + 1, holder=self._me, until=now + timedelta(seconds=LEASE_S))


async def root_in_pieces(members: Sequence[Member]) -> bytes:
    """The root of the tree over these members, of which there is at least one: what ``root_of`` says of them."""
    branches: list[bytes] = []
    for start in range(0, len(members), BRANCH_MEMBERS):
        await asyncio.sleep(0)
        branches.append(root_of([one.node for one in members[start : start + BRANCH_MEMBERS]]))
    return root_of(branches)


def _lasts(head: Head, now: datetime, *, at_least_s: float = 0.0) -> bool:
    """Whether the lease goes on for longer than so many seconds, and ends at a time that can be meant."""
    return head.until is not None and at_least_s < (head.until - now).total_seconds() <= AHEAD_S_MAX


async def _still_at(conn: AsyncConnection, head: Head) -> bool:
    if head.turn == 0:
        first = {"id": 1, "turn": 0, "number": 0, "hash": FIRST_PREVIOUS}
        await conn.execute(insert_for(conn.dialect.name, s.state).on_conflict_do_nothing(), [first])
    turn = await conn.scalar(select(s.state.c.turn).with_for_update())
    return bool(turn == head.turn)


async def _write_head(conn: AsyncConnection, head: Head) -> bool:
    values: Mapping[str, Any] = {"turn": head.turn, "number": head.number, "hash": head.hash, "holder": head.holder}
    await conn.execute(update(s.state).values({**values, "until": head.until}))
    return True


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
