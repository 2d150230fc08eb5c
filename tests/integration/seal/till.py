"""A till that leaves every kind of row behind: events, deliveries, calls, entries, moves, messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import BaseModel
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.calls.outcome import Outcome, Settled
from hub.capability import calls, handler
from hub.clock import Clock
from hub.deliver.context import Context
from hub.event import Event
from hub.ledger import Account
from hub.ledger.model import Move
from hub.money import Money
from hub.seal.sealer import Sealer
from hub.store import tables as t
from hub.store.store import Store
from tests.support.parts import Parts, assemble

ROUTES = """
destinations:
  desk: { queue: desk }
routes:
  - { name: book, match: 'sale.made', handle: test.book, publish: desk }
  - { name: ask, match: 'sale.made', handle: test.ask, when: data.amount < 1000000 }
  - { name: forward, match: 'sale.#', publish: desk }
"""
TILL = Account("till", "VND", "debit", running=False)


class Charge(BaseModel):
    amount: int


async def charge(request: Charge, key: str) -> Outcome:
    return Settled({"fee": 1.5, "amount": request.amount, "key": key})


@handler
async def book(event: Event, ctx: Context) -> None:
    customer = Account(f"customer:{event.data['key']}", "VND", "credit")
    sales = Account("sales", "VND", "credit", running=False)
    amount = Money(event.data["amount"], "VND")
    moves = [Move(debit=TILL, credit=sales, amount=amount), Move(debit=TILL, credit=customer, amount=amount)]
    await ctx.ledger.post(f"sale:{event.id}", "sale", moves, note="sold", data={"rate": 0.25, "whole": 2.0})
    await ctx.publish({"number": event.data["key"]}, routing_key="sale.booked")


@calls("bank")
async def ask(event: Event, ctx: Context) -> None:
    await ctx.call("charge", charge, Charge(amount=event.data["amount"]))


@asynccontextmanager
async def till(store: Store, *, clock: Clock | None = None) -> AsyncIterator[Parts]:
    """The till at work."""
    async with assemble(store, ROUTES, {"book": book, "ask": ask}, clock=clock) as parts:
        yield parts


async def sell(parts: Parts, count: int, *, first: int = 0) -> None:
    """So many sales, and all that comes of them; their messages count as sent."""
    await asyncio.gather(
        *(
            parts.send(
                "sale.made",
                {"key": f"c{number % 7}", "amount": 1000 + number},
                message_id=f"m{number}",
                headers={"x-till": str(number)},
            )
            for number in range(first, first + count)
        )
    )
    await parts.settle()
    await send_all(parts.store, parts.clock)


async def look(parts: Parts, count: int) -> None:
    """So many events that are only forwarded, accepted together."""
    await asyncio.gather(*(parts.send("sale.looked", {"n": number}) for number in range(count)))
    await parts.settle()
    await send_all(parts.store, parts.clock)


async def send_all(store: Store, clock: Clock) -> None:
    async def work(conn: AsyncConnection) -> None:
        unsent = t.outbox.c.state == "ready"
        await conn.execute(update(t.outbox).where(unsent).values(state="sent", sent_at=clock.now()))

    await store.write(work)


def sealer_of(store: Store, clock: Clock) -> Sealer:
    """A sealer that waits for nobody."""
    return Sealer(store, clock, interval_s=1.0, lag_s=0.0)


async def seal_all(store: Store, clock: Clock) -> Sealer:
    """Seal whatever is final."""
    sealer = sealer_of(store, clock)
    for _ in range(1_000):
        if not await sealer.seal():
            await sealer.leave()
            return sealer
    raise AssertionError("the sealer finds no end")
