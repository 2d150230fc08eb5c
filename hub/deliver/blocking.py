"""The ``blocked`` rows: one per chain that waits, whatever the number of deliveries behind it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Literal

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.store import tables as t
from hub.store.direct import Direct
from hub.store.numbers import among, as_numbers
from hub.store.upserts import insert_for


@dataclass(frozen=True, slots=True)
class Block:
    """Why a chain waits, behind which delivery, and when to look again (None: when somebody acts)."""

    chain: int
    lane: int
    head: int
    state: Literal["backoff", "calling", "parked", "barrier"]
    next_at: datetime | None


@dataclass(frozen=True, slots=True)
class Behind:
    """A ready delivery that stands behind the head of its chain."""

    id: int
    chain: int


@dataclass(slots=True)
class Waits:
    """What a look found that must wait, to be written when the batch has run.

    Not before: who holds a chain's row while its handlers wait for an account may meet a call that ends, which holds
    the account and wants the row.
    """

    blocks: list[Block] = field(default_factory=list)
    behind: list[Behind] = field(default_factory=list)

    def except_behind(self, chains: Collection[int]) -> Waits:
        """The same, but nothing of these chains is blocked: what stands before it was picked and has not run yet.

        Blocked, the chain would not be due when that is to run, and the look that finds it late would block it again.
        """
        return Waits([one for one in self.blocks if one.chain not in chains], self.behind)

    async def write(self, conn: AsyncConnection) -> None:
        """Let them wait."""
        await block_chains(conn, self.blocks, behind=self.behind)


async def block_chains(conn: AsyncConnection, blocks: Sequence[Block], *, behind: Sequence[Behind] = ()) -> None:
    """Let these chains wait; those ``behind`` are read from their chain's head from now on.

    A chain's ``blocked`` row is the lock for everything that decides whether its deliveries wait: one is turned
    ``waiting`` only while that row is held, so that none can be left waiting with nothing to wake it.
    """
    if blocks and behind:
        # Those that are there, in one order, before either kind is touched.
        await hold_chains(conn, {one.chain for one in blocks} | {one.chain for one in behind})
    if blocks:
        new = insert_for(conn.dialect.name, t.blocked)
        changed = {name: new.excluded[name] for name in ("lane", "head", "state", "next_at")}
        statement = new.on_conflict_do_update(index_elements=["chain"], set_=changed)
        # Sorted: two transactions that block the same chains must not wait for each other in a ring.
        rows = [asdict(block) for block in sorted(blocks, key=lambda block: block.chain)]
        await conn.execute(statement, rows)
    blocked = await hold_chains(conn, {one.chain for one in behind})
    waiting = [{"delivery": one.id} for one in behind if one.chain in blocked]
    if waiting:
        await conn.execute(
            update(t.deliveries)
            .where(t.deliveries.c.id == bindparam("delivery"), t.deliveries.c.state == "ready")
            .values(state="waiting"),
            waiting,
        )


async def release_chains(conn: AsyncConnection, chains: Iterable[int], *, now: datetime) -> None:
    """Let these chains go on: the row goes when nothing waits behind it, else the chain is due at once."""
    held = await hold_chains(conn, set(chains))
    if not held:
        return
    # One look into the index per chain; an EXISTS might be planned as a hash over everything that waits.
    first_behind = (
        select(t.deliveries.c.id)
        .where(t.deliveries.c.chain == t.blocked.c.chain, t.in_state(t.deliveries, *t.BEHIND_STATES))
        .order_by(t.deliveries.c.id)
        .limit(1)
        .correlate(t.blocked)
        .scalar_subquery()
    )
    gone = await conn.execute(delete(t.blocked).where(t.blocked.c.chain.in_(held), first_behind.is_(None)))
    if gone.rowcount < len(held):
        due = update(t.blocked).where(t.blocked.c.chain.in_(held)).values(state="backoff", next_at=now)
        await conn.execute(due)


async def calling_chains(conn: AsyncConnection, lanes: Collection[int]) -> list[tuple[int, int, int]]:
    """The chains of these lanes that wait for a call: each with its lane and the delivery that calls."""
    b = t.blocked
    query = select(b.c.chain, b.c.lane, b.c.head).where(t.in_state(b, "calling"))
    dialect = conn.dialect.name
    mine = {"lanes": as_numbers(dialect, lanes)}
    return [
        (row.chain, row.lane, row.head)
        for row in await conn.execute(query.where(among(dialect, b.c.lane, "lanes")), mine)
    ]


async def hold_chains(conn: AsyncConnection, chains: Collection[int]) -> set[int]:
    """Lock the rows of these chains, in order, until the commit; answers those that are blocked."""
    if not chains:
        return set()
    return {row[0] for row in await _HOLD.rows(conn, as_numbers(conn.dialect.name, chains))}


_HOLD = Direct(
    postgresql="SELECT chain FROM blocked WHERE chain = ANY ($1::bigint[]) ORDER BY chain FOR UPDATE",
    sqlite="SELECT chain FROM blocked WHERE chain IN (SELECT value FROM json_each(?))",
)
