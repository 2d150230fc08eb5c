"""What the tests of calls share: a provider that answers as it is told, and the account that it pays into."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.calls.outcome import Declined, Outcome, Pending, Settled, Unknown
from hub.calls.record import Lookup
from hub.capability import HandlerSpec, calls
from hub.deliver.context import Context
from hub.errors import RetryableError
from hub.event import Event
from hub.ledger import Account, Move
from hub.ledger.tables import entries
from hub.money import Money
from hub.store import tables as t
from hub.store.store import Store
from tests.integration.deliver.workshop import route, routing

BANK = Account("bank", "VND", "debit", running=False)
WALLET = Account("wallet:w", "VND", "credit")
PAY = routing(route("pay", "pay", match="pay"))


class Provider:
    """A provider that answers what a test tells it to, and remembers what it was asked."""

    def __init__(self, *answers: Outcome | BaseException) -> None:
        self.answers = list(answers)
        self.found: list[Any] = []
        self.sent: list[tuple[str, str]] = []
        self.asked: list[str] = []
        self.silent = asyncio.Event()
        self.reached = asyncio.Event()
        self.on_send: Callable[[], Any] | None = None

    async def send(self, request: dict[str, Any], key: str) -> Outcome:
        self.sent.append((str(request.get("key", "")), key))
        self.reached.set()
        if self.on_send is not None:
            await self.on_send()
        answer = self.answers.pop(0) if self.answers else Settled({"id": len(self.sent)})
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def never(self, request: dict[str, Any], key: str) -> Outcome:
        self.sent.append((str(request.get("key", "")), key))
        self.reached.set()
        await self.silent.wait()
        return Settled({"id": len(self.sent)})

    async def look_up(self, request: dict[str, Any], key: str) -> Any:
        self.asked.append(key)
        answer = self.found.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def spec(
        self, outcomes: list[Outcome], *, with_lookup: bool = True, timeout_s: float = 5.0, **call: Any
    ) -> HandlerSpec:
        """A handler that makes one call, posts when it is settled, and asks again while it is not decided."""
        lookup: Lookup | None = self.look_up if with_lookup else None

        @calls("bank")
        async def pay(event: Event, ctx: Context) -> None:
            outcome = await ctx.call(
                "pay",
                call.get("fn", self.send),
                dict(event.data),
                lookup=lookup,
                timeout_s=timeout_s,
                key=call.get("key"),
            )
            outcomes.append(outcome)
            match outcome:
                case Settled():
                    await ctx.ledger.post(f"paid-{event.id}", "paid", [Move(BANK, WALLET, Money(5, "VND"))])
                    await ctx.emit("paid", {"n": 1})
                    ctx.conclude("settled")
                case Declined():
                    ctx.conclude("declined")
                case Pending() | Unknown():
                    raise RetryableError("not decided")

        spec: HandlerSpec = pay
        return spec


async def touch(conn: AsyncConnection) -> None:
    """Write something that concerns nobody."""
    await conn.execute(t.received_totals.insert(), [{"source": "elsewhere", "slot": 0, "received": 1}])


async def posted(store: Store) -> int:
    """How many entries are in the books."""
    async with store.reading() as conn:
        return len((await conn.execute(select(entries.c.id))).all())
