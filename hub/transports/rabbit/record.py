"""Which bindings the hub has made: AMQP cannot list them, and what the rules drop must go. Never those of others."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.store.store import Store
from hub.store.upserts import insert_for
from hub.transports.base import PlanItem, PlanState
from hub.transports.tables import broker_bindings as b
from hub.transports.topology import Binding


class BindingRecord:
    """The bindings on record, in the hub's own database."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(self, bindings: Iterable[Binding]) -> None:
        """To be called before they are made: a crash in between leaves too much on record, never too little."""
        missing = sorted(set(bindings) - await self.all())
        if not missing:
            return

        async def work(conn: AsyncConnection) -> None:
            rows = [{"exchange": one.exchange, "queue": one.queue, "pattern": one.pattern} for one in missing]
            await conn.execute(insert_for(conn.dialect.name, b).on_conflict_do_nothing(), rows)

        await self._store.write(work)

    async def others_than(self, bindings: Iterable[Binding]) -> list[Binding]:
        """What is on record and no longer wanted."""
        return sorted(await self.all() - set(bindings))

    async def remove(self, binding: Binding) -> None:
        """To be called once it is gone."""
        mine = (b.c.exchange == binding.exchange) & (b.c.queue == binding.queue) & (b.c.pattern == binding.pattern)

        async def work(conn: AsyncConnection) -> None:
            await conn.execute(delete(b).where(mine))

        await self._store.write(work)

    async def plan(self, wanted: Iterable[Binding]) -> list[PlanItem]:
        stored, named = await self.all(), set(wanted)
        states = {one: PlanState.MATCHES if one in stored else PlanState.MISSING for one in named}
        states |= dict.fromkeys(stored - named, PlanState.STALE)
        return [_item(one, states[one]) for one in sorted(states)]

    async def all(self) -> set[Binding]:
        async with self._store.reading() as conn:
            return {Binding(row.exchange, row.queue, row.pattern) for row in await conn.execute(select(b))}


def _item(one: Binding, state: PlanState) -> PlanItem:
    return PlanItem(kind="binding", name=f"{one.exchange} → {one.queue} by {one.pattern}", state=state)
