"""Accounts are locked before chains, by batches and by calls that end, so that the two never wait in a ring.

Two transactions at once are PostgreSQL's alone: SQLite has one writer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.capability import handler
from hub.deliver.context import Context
from hub.errors import RetryableError
from hub.event import Event, chain_of
from hub.ledger import Account, Book, Move
from hub.money import Money
from hub.store import tables as t
from hub.store.store import Store
from tests.integration.deliver.workshop import give, keys_of_one_lane, message, route, routing, states
from tests.support.databases import Databases
from tests.support.parts import Parts, assemble
from tests.support.patience import until

CLEARING = Account("clearing", "JPY", "debit", running=False)
WALLET = Account("wallet", "JPY", "credit")
LONG_S = 3_600.0


@pytest.fixture
async def store(databases: Databases) -> AsyncIterator[Store]:
    address = await databases.fresh("postgresql")
    opened = Store.open(address)
    yield opened
    await opened.close()
    await databases.drop(address)


@handler
async def act(event: Event, ctx: Context) -> None:
    if event.data["does"] == "fail":
        raise RetryableError("not today", delay_s=LONG_S)
    await ctx.ledger.post(f"pay:{event.id}", "pay", [Move(CLEARING, WALLET, Money(100, "JPY"))])


async def test_a_batch_that_waits_for_an_account_holds_no_chain(store: Store) -> None:
    blocked, free = keys_of_one_lane(2)
    async with assemble(store, routing(route("act", "act")), {"act": act}) as parts:
        await give(
            parts, message("pay", {"key": free, "does": "pay"}), message("pay", {"key": blocked, "does": "fail"})
        )
        await until(lambda: _are(parts, ["done", "retrying"]), "the chain to be blocked")
        async with store.writer.begin() as call:
            await Book(call, now=parts.clock.now()).lock([WALLET])
            # The picker meets one that must wait behind the blocked chain, and one that wants the account.
            await give(
                parts, message("pay", {"key": blocked, "does": "pay"}), message("pay", {"key": free, "does": "pay"})
            )
            await until(lambda: _somebody_waits(store), "the batch to wait for the account")

            # As a call does that ends. The batch must not have the row, or each would wait for the other.
            chain = chain_of(parts.rules.route_ids["act"], blocked)
            mine = select(t.blocked.c.chain).where(t.blocked.c.chain == chain).with_for_update(nowait=True)
            assert await call.scalar(mine) == chain

        await until(lambda: _are(parts, ["done", "retrying", "waiting", "done"]), "the rest to be done")


async def _are(parts: Parts, expected: list[str]) -> bool:
    return states(await parts.deliveries()) == expected


async def _somebody_waits(store: Store) -> bool:
    async with store.reading() as conn:
        return await _waiting(conn) > 0


async def _waiting(conn: AsyncConnection) -> int:
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    return int(await conn.scalar(text(query)) or 0)
