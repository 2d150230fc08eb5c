"""A stored history for operators' tests: events accepted by small rules, and deliveries put into any state."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Table, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.capability import handler
from hub.deliver.blocking import Block, block_chains
from hub.deliver.context import Context
from hub.event import Event, Verdict
from hub.inbox.draft import Draft
from hub.inbox.received import Accepted, Received
from hub.inbox.route_ids import register_routes
from hub.inbox.rows import store_drafts
from hub.operate.reading import TodaysRules
from hub.routing import SourceConfig
from hub.store import tables as t
from hub.store.store import Store
from hub.wiring import Wiring
from tests.support.clock import SettableClock
from tests.support.parts import wiring_of

SOURCES = """
version: 1
sources:
  shop:
    webhook: { path: /webhooks/shop, auth: { scheme: none, allow: true } }
    event: { type: data.type, key: data.key, after: data.after, id: data.id, same: [data.amount] }
    mask: [data.phone, data.lines.name, headers.x-customer]
routes:
"""
NOTE = "  - { name: note, match: 'order.#', handle: test.note }\n"
COPY = "  - { name: copy, match: order.paid, handle: test.note, when: data.amount > 10 }\n"


@handler
async def note(event: Event, ctx: Context) -> None:
    ctx.tag("noted", str(event.data["amount"]))


class Desk:
    """The store with some rules of today, which a test may change."""

    def __init__(self, store: Store, clock: SettableClock) -> None:
        self.store = store
        self.clock = clock
        self.wiring: Wiring
        self.rules: TodaysRules

    async def use(self, *routes: str, sources: Mapping[str, str] | None = None) -> None:
        """These are the rules from now on; ``sources`` replaces words of the source's declaration."""
        declared = SOURCES
        for was, becomes in (sources or {}).items():
            declared = declared.replace(was, becomes)
        self.wiring = wiring_of(declared + "".join(routes), {"note": note}, self.clock)
        route_ids = await self.store.write(lambda conn: register_routes(conn, self.wiring.router.routes))
        self.rules = TodaysRules(self.wiring.drafter, route_ids)

    @property
    def sources(self) -> Mapping[str, SourceConfig]:
        return self.wiring.config.sources

    async def accept(self, *bodies: Mapping[str, Any] | bytes, **received: Any) -> list[Accepted]:
        """Accept messages of the source ``shop``, in one transaction."""
        drafts = [
            self.wiring.drafter.draft(
                Received(
                    source="shop",
                    body=body if isinstance(body, bytes) else json.dumps(body).encode(),
                    verdict=Verdict.VALID,
                    **received,
                )
            )
            for body in bodies
        ]
        return await self.accept_drafts(*drafts)

    async def accept_drafts(self, *drafts: Draft) -> list[Accepted]:
        async def work(conn: AsyncConnection) -> list[Accepted]:
            answers = await store_drafts(conn, drafts, route_ids=self.rules.route_ids, now=self.clock.now())
            return [accepted for accepted, _ in answers]

        return await self.store.write(work)

    async def event(self, number: int = 1, *, type_: str = "order.made", **fields: Any) -> UUID:
        """Accept one order and give its event's id."""
        body = {"id": f"order-{number}", "type": type_, "key": "customer-1", "amount": 5, **fields}
        [accepted] = await self.accept(body)
        return accepted.event_id

    async def deliveries(self, event_id: UUID) -> list[Row[Any]]:
        return await self.rows(t.deliveries, t.deliveries.c.event_id == event_id)

    async def rows(self, table: Table, *where: Any) -> list[Row[Any]]:
        async with self.store.reading() as conn:
            order = list(table.primary_key.columns)
            return list(await conn.execute(select(table).where(*where).order_by(*order)))

    async def put(self, event_id: UUID, state: str, **values: Any) -> None:
        """Put all deliveries of the event into this state, with the row that blocks their chains where there is one."""
        finished_at = None if state in t.OPEN_STATES else self.clock.now()
        values = {"state": state, "finished_at": finished_at, **values}
        rows = await self.deliveries(event_id)
        blocking = {"retrying": "backoff", "parked": "parked", "calling": "calling"}.get(state)

        async def work(conn: AsyncConnection) -> None:
            await conn.execute(update(t.deliveries).where(t.deliveries.c.event_id == event_id).values(values))
            if blocking is not None:
                at = self.clock.now() if state == "retrying" else None
                blocks = [Block(row.chain, row.lane, row.id, blocking, at) for row in rows]  # type: ignore[arg-type]
                await block_chains(conn, blocks)

        await self.store.write(work)

    async def park(self, event_id: UUID, reason: str = "the handler failed") -> None:
        await self.put(event_id, "parked", reason=reason, attempts=12)

    async def add(self, table: Table, *rows: Mapping[str, Any]) -> None:
        async def work(conn: AsyncConnection) -> None:
            await conn.execute(insert(table), list(rows))

        await self.store.write(work)

    async def change(self, table: Table, *where: Any, **values: Any) -> None:
        """As nobody should: directly."""

        async def work(conn: AsyncConnection) -> None:
            statement = update(table).where(*where).values(values) if values else delete(table).where(*where)
            await conn.execute(statement)

        await self.store.write(work)


def states(rows: Sequence[Row[Any]]) -> list[str]:
    return [row.state for row in rows]
