"""Further keys: a delivery that names more than one key waits for all of them, and they wait for it.

A merge of two customers carries its own key and the other customer's. It wrote one barrier row per key when it was
accepted; these rows are found here from either side. They go when it is done and its messages have left, and it begins
when the messages of those before it have left: a consumer sees the same order. Source:
docs/decisions/0003-chains-and-lanes.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import TypeAlias

from sqlalchemy import Select, delete, exists, select
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.deliver.blocking import Behind, Block, Waits
from hub.deliver.work import Work
from hub.event import chain_of, lane_of, outbox_chain_of
from hub.store import tables as t
from hub.store.numbers import among, as_numbers

RECHECK_S_MIN = 0.05
RECHECK_S_MAX = 5.0

Targets: TypeAlias = Callable[[int], Sequence[str]]
"""The destinations of a route, by its number."""


async def hold_back(
    conn: AsyncConnection, works: Sequence[Work], drained: set[int], waits: Waits, *, now: datetime, targets: Targets
) -> list[Work]:
    """The works that no barrier holds. Those that one holds are to wait, with their chain, and looked at again soon."""
    barriers = await _barriers_of(conn, {work.chain for work in works})
    if not barriers and not any(work.barrier for work in works):
        return list(works)
    free: list[Work] = []
    blocks: dict[int, Block] = {}
    behind: list[Behind] = []
    for work in works:
        # A deferred delivery has left its chain: it ran once, so what came before it was done by then.
        is_free = work.state == "deferred" or (
            work.chain not in blocks and not await _is_held(conn, work, barriers[work.chain], targets)
        )
        if is_free:
            free.append(work)
            continue
        behind.append(Behind(work.id, work.chain))
        blocks.setdefault(work.chain, Block(work.chain, work.lane, work.id, "barrier", _next_look(work, now)))
    waits.blocks += blocks.values()
    waits.behind += behind
    drained -= blocks.keys()
    return free


async def _barriers_of(conn: AsyncConnection, chains: set[int]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    if chains:
        dialect = conn.dialect.name
        for chain, delivery_id in await conn.execute(_of_chains(dialect), {"chains": as_numbers(dialect, chains)}):
            found[chain].append(delivery_id)
    return found


@cache
def _of_chains(dialect: str) -> Select[int, int]:
    return select(t.barriers.c.chain, t.barriers.c.delivery_id).where(among(dialect, t.barriers.c.chain, "chains"))


async def lift(conn: AsyncConnection, delivery_ids: Collection[int]) -> None:
    """Let go what waits for these finished deliveries, except where messages of theirs are still to be sent."""
    if not delivery_ids or not await conn.scalar(select(exists(select(t.barriers.c.chain)))):
        return
    # Two processes that mark the last messages of one merge take turns here, by a statement of its own: the second then
    # sees what the first has marked. Side by side each would leave the rows to the other, and nobody would lift them.
    mine = t.barriers.c.delivery_id.in_(delivery_ids)
    held = select(t.barriers.c.chain).where(mine).order_by(t.barriers.c.chain, t.barriers.c.delivery_id)
    await conn.execute(held.with_for_update())
    unsent = exists().where(t.outbox.c.delivery_id == t.barriers.c.delivery_id, _is_unsent)
    await conn.execute(delete(t.barriers).where(mine, ~unsent))


_is_unsent = t.in_state(t.outbox, "ready") | t.in_state(t.outbox, "waiting", "parked")


async def _is_held(conn: AsyncConnection, work: Work, barriers: Sequence[int], targets: Targets) -> bool:
    if any(delivery_id < work.id for delivery_id in barriers):
        return True
    return work.barrier and await _has_earlier_of_other_keys(conn, work, targets(work.route_id))


async def _has_earlier_of_other_keys(conn: AsyncConnection, work: Work, destinations: Sequence[str]) -> bool:
    """Is anything before this one still open, or still to be sent, on one of its further keys?

    Its own chain is in order anyway.
    """
    for key in sorted({*work.event.after} - {work.event.chain_key}):
        chain = chain_of(work.route_id, key)
        earlier = t.deliveries.c.id < work.id
        ready = (t.deliveries.c.lane == lane_of(key)) & t.in_state(t.deliveries, "ready") & earlier
        behind = t.in_state(t.deliveries, *t.BEHIND_STATES) & earlier
        barrier = (t.barriers.c.chain == chain) & (t.barriers.c.delivery_id < work.id)
        messages = t.outbox.c.chain.in_([outbox_chain_of(name, key) for name in destinations])
        unsent = t.in_state(t.outbox, "ready") & (t.outbox.c.lane == lane_of(key))
        query = select(
            exists().where(ready, t.deliveries.c.chain == chain)
            | exists().where(behind, t.deliveries.c.chain == chain)
            | exists().where(barrier)
            | exists().where(unsent, messages)
            | exists().where(t.in_state(t.outbox, "waiting", "parked"), messages)
        )
        if await conn.scalar(query):
            return True
    return False


def _next_look(work: Work, now: datetime) -> datetime:
    # The longer it has waited, the rarer the look: a barrier behind a parked delivery may stand for days.
    waited_s = (now - work.event.received_at).total_seconds()
    return now + timedelta(seconds=min(RECHECK_S_MAX, max(RECHECK_S_MIN, waited_s / 8)))
