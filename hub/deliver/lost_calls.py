"""Deliveries marked as calling that no task runs: their batch was committed although its worker did not hear so."""

from __future__ import annotations

from collections.abc import Collection

import structlog
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.clock import Clock
from hub.deliver.blocking import calling_chains, release_chains
from hub.ownership.holding import Holding
from hub.store import tables as t
from hub.store.store import Store

log = structlog.get_logger(__name__)


async def give_back_lost_calls(store: Store, clock: Clock, holding: Holding, in_flight: Collection[int]) -> None:
    """Let those of this holding run again that are not ``in_flight``. No batch of it may be under way meanwhile."""
    async with store.reading() as conn:
        calling = await calling_chains(conn, holding.lanes)
    lost = {chain: head for chain, _, head in calling if head not in in_flight}
    if not lost:
        return
    log.warning("calls_given_back", deliveries=len(lost))

    async def work(conn: AsyncConnection) -> None:
        mine = t.deliveries.c.id.in_(lost.values()) & (t.deliveries.c.state == "calling")
        await conn.execute(update(t.deliveries).where(mine).values(state="retrying"))
        await release_chains(conn, lost, now=clock.now())

    await store.write(work, fence=holding.fence)
