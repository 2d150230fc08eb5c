"""Workers of a test: all lanes at once, where nobody else lives."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from hub.clock import Clock
from hub.event import LANES
from hub.ownership.holding import KINDS, Kind
from hub.ownership.member import Member
from hub.store import tables as t
from hub.store.store import Store

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


async def joined(store: Store, clock: Clock, kinds: Sequence[Kind] = KINDS, **settings: Any) -> Member:
    """A worker that has looked once: it has ended those that are gone, and has what was free."""
    member = Member(store, clock, kinds, **settings)
    await member.join()
    await member.look()
    return member


async def alone(store: Store, clock: Clock, kinds: Sequence[Kind] = KINDS) -> Member:
    """A worker that has all lanes: those that were before it have died."""
    await expire_leases(store)
    member = await joined(store, clock, kinds)
    assert all(len(one.lanes) == LANES for one in member.holdings.values())
    return member


async def expire_leases(store: Store, *members: Member) -> None:
    """Let the leases of these workers, or of all, be over, as if their time had passed."""
    mine = (
        t.leases.c.worker_id.in_([one.fence.worker_id for one in members]) if members else t.leases.c.until.is_not(None)
    )

    async def work(conn: Any) -> None:
        await conn.execute(t.leases.update().where(mine).values(until=LONG_AGO))

    await store.write(work)
