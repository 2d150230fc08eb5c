"""What becomes of messages after a round, written in one transaction: exactly the rows that were judged, never a range.

A chain's ``outbox_blocked`` row is the lock for everything that decides whether its rows wait: whoever turns rows
``waiting`` or lets the chain go holds it, so that no row can be left waiting with nothing to wake it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import cache
from typing import Literal

from sqlalchemy import Delete, Select, Update, bindparam, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.deliver.barriers import lift
from hub.outbox.picker import Head, is_blocked
from hub.store import tables as t
from hub.store.direct import Direct
from hub.store.numbers import among, as_numbers
from hub.store.tables import in_state
from hub.store.types import UtcTime, as_time
from hub.store.upserts import insert_for

REASON_CHARS_MAX = 2_000

_o, _b = t.outbox, t.outbox_blocked


@dataclass(frozen=True, slots=True)
class Block:
    """Why a chain waits and when to look again (None: when somebody acts)."""

    chain: int
    lane: int
    state: Literal["backoff", "parked"]
    next_at: datetime | None


@dataclass(frozen=True, slots=True)
class Failure:
    """The first message of a chain that did not go, and what its chain does now."""

    head: Head
    reason: str
    block: Block


@dataclass(slots=True)
class Marks:
    """One round's verdicts.

    ``waiting`` are rows behind a blocked one; ``released`` are due chains that went well; ``put_off`` are due chains
    whose destination takes nothing now, with the time of the next look.
    """

    sent: list[int] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    waiting: list[Head] = field(default_factory=list)
    released: set[int] = field(default_factory=set)
    put_off: dict[int, datetime] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.sent or self.failures or self.blocks or self.waiting or self.released or self.put_off)


async def write_marks(conn: AsyncConnection, marks: Marks, *, now: datetime) -> None:
    """Write the verdicts. The caller's transaction holds the fence and commits."""
    touched = {head.chain for head in marks.waiting} | marks.released | marks.put_off.keys()
    await _lock(conn, touched)
    await _mark_sent(conn, marks.sent, now)
    await _mark_failed(conn, marks.failures)
    await _block(conn, [failure.block for failure in marks.failures] + marks.blocks)
    await _let_wait(conn, [head.seq for head in marks.waiting])
    await release(conn, marks.released, now=now)
    await _put_off(conn, marks.put_off, now)


async def _put_off(conn: AsyncConnection, chains: Mapping[int, datetime], now: datetime) -> None:
    """Look at these chains later, where they are still due: a person may have let one go since it was read."""
    if chains:
        rows = [{"of_chain": chain, "later": at, "now": now} for chain, at in sorted(chains.items())]
        await conn.execute(_LATER, rows)


_LATER = (
    update(_b)
    .where(
        _b.c.chain == bindparam("of_chain"), _b.c.state == "backoff", _b.c.next_at <= bindparam("now", type_=UtcTime)
    )
    .values(next_at=bindparam("later", type_=UtcTime))
)


async def release(conn: AsyncConnection, chains: Iterable[int], *, now: datetime) -> None:
    """Let these chains go on: the row goes when nothing waits behind it, else the chain is due at once."""
    wanted = sorted(set(chains))
    if not wanted:
        return
    await _lock(conn, wanted)
    dialect = conn.dialect.name
    bounds = {"chains": as_numbers(dialect, wanted)}
    await conn.execute(_forget_empty(dialect), bounds)
    await conn.execute(_make_due(dialect), bounds | {"now": now})


@cache
def _forget_empty(dialect: str) -> Delete:
    of_chain = select(_o.c.seq).where(_o.c.chain == _b.c.chain, in_state(_o, "waiting", "parked"))
    first_behind = of_chain.order_by(_o.c.seq).limit(1).correlate(_b).scalar_subquery()
    return delete(_b).where(among(dialect, _b.c.chain, "chains"), first_behind.is_(None))


@cache
def _make_due(dialect: str) -> Update:
    mine = among(dialect, _b.c.chain, "chains")
    return update(_b).where(mine).values(state="backoff", next_at=bindparam("now", type_=UtcTime))


async def _lock(conn: AsyncConnection, chains: Iterable[int]) -> None:
    """Hold these chains' rows, in one order. SQLite needs none: it has one writer."""
    wanted = sorted(set(chains))
    if wanted and conn.dialect.name == "postgresql":
        await conn.execute(_LOCK_POSTGRESQL, {"chains": wanted})


_LOCK_POSTGRESQL = (
    select(_b.c.chain).where(among("postgresql", _b.c.chain, "chains")).order_by(_b.c.chain).with_for_update()
)


async def _mark_sent(conn: AsyncConnection, seqs: Sequence[int], now: datetime) -> None:
    if not seqs:
        return
    dialect = conn.dialect.name
    at = as_time(dialect, now)
    if dialect == "postgresql":
        [[marked, has_barriers]] = await _MARK_SENT.rows(conn, seqs, at)
    else:
        marked = await _MARK_SENT.run(conn, as_numbers(dialect, seqs), at)
        has_barriers = marked and await _ANY_BARRIERS.rows(conn)
    if marked != len(seqs):
        raise RuntimeError(f"{len(seqs)} messages were confirmed, {marked} rows of theirs found")
    if has_barriers:
        await _lift(conn, seqs)


# By primary key alone: a condition on the state would tempt the planner into the index of the backlog.
_MARK_SENT = Direct(
    postgresql="""\
WITH marked AS (
  UPDATE outbox SET state = 'sent', sent_at = $2::timestamptz, reason = NULL
  FROM unnest($1::bigint[]) AS gone (seq) WHERE outbox.seq = gone.seq RETURNING 1)
SELECT (SELECT count(*) FROM marked), EXISTS (SELECT FROM barriers)""",
    sqlite="""\
UPDATE outbox SET state = 'sent', sent_at = ?2, reason = NULL WHERE seq IN (SELECT value FROM json_each(?1))""",
)
_ANY_BARRIERS = Direct(postgresql="SELECT 1 FROM barriers LIMIT 1", sqlite="SELECT 1 FROM barriers LIMIT 1")


async def lift_behind(conn: AsyncConnection, seqs: Sequence[int]) -> None:
    """Let go what waits until these messages have left (a merge of two customers holds back later events of both)."""
    if await _ANY_BARRIERS.rows(conn):
        await _lift(conn, seqs)


async def _lift(conn: AsyncConnection, seqs: Sequence[int]) -> None:
    dialect = conn.dialect.name
    left = await conn.scalars(_deliveries_of(dialect), {"seqs": as_numbers(dialect, seqs)})
    await lift(conn, left.all())


@cache
def _deliveries_of(dialect: str) -> Select[int]:
    return select(_o.c.delivery_id).where(among(dialect, _o.c.seq, "seqs")).distinct()


async def _mark_failed(conn: AsyncConnection, failures: Sequence[Failure]) -> None:
    if not failures:
        return
    rows = [
        {
            "row": failure.head.seq,
            "new_state": "parked" if failure.block.state == "parked" else "waiting",
            "used": failure.head.attempts + 1,
            "why": failure.reason[:REASON_CHARS_MAX],
        }
        for failure in failures
    ]
    await conn.execute(
        update(_o)
        .where(_o.c.seq == bindparam("row"))
        .values(state=bindparam("new_state"), attempts=bindparam("used"), reason=bindparam("why")),
        rows,
    )


async def _block(conn: AsyncConnection, blocks: Sequence[Block]) -> None:
    if not blocks:
        return
    new = insert_for(conn.dialect.name, _b)
    changed = {name: new.excluded[name] for name in ("lane", "state", "next_at")}
    rows = [asdict(block) for block in sorted(blocks, key=lambda block: block.chain)]
    await conn.execute(new.on_conflict_do_update(index_elements=["chain"], set_=changed), rows)


async def _let_wait(conn: AsyncConnection, seqs: Sequence[int]) -> None:
    """Ready rows wait, where their chain is blocked still: a person may have let it go since they were read."""
    if seqs:
        dialect = conn.dialect.name
        await conn.execute(_turn_waiting(dialect), {"seqs": as_numbers(dialect, seqs)})


@cache
def _turn_waiting(dialect: str) -> Update:
    mine = among(dialect, _o.c.seq, "seqs")
    return update(_o).where(mine, in_state(_o, "ready"), is_blocked()).values(state="waiting")
