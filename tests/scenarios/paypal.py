"""Plays PayPal against a running hub: signs what it sends, and reads what became of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from handlers.paypal.authority import Authority
from handlers.paypal.tables import PaypalEventRecord
from hub.clock import Clock
from hub.operate.equation import check
from hub.store import tables as t
from tests.support.clock import SettableClock
from tests.support.running import PROJECT, RunningHub, environment, running, until

WEBHOOK = "/webhooks/paypal"
WEBHOOK_ID = "1TESTWEBHOOKID0001"
OTHER_WEBHOOK_ID = "9OTHERMERCHANT0001"
DATA = PROJECT / "tests/data/paypal"
VERIFIED_QUEUE, ERROR_QUEUE = "paypal.webhook.verified", "paypal.webhook.error"
SALE = "payment.sale.completed.subscription.json"

Entity = TypeVar("Entity")


class Paypal:
    """One running hub as PayPal, forgers and operators see it."""

    def __init__(self, running: RunningHub, authority: Authority) -> None:
        self.running = running
        self.authority = authority

    def signed(self, body: bytes, *, webhook_id: str = WEBHOOK_ID) -> dict[str, str]:
        """The headers of a new transmission of this body."""
        now = self.running.hub.clock.now()
        return dict(self.authority.signed_headers(body, webhook_id, transmission_id=str(uuid4()), now=now))

    async def deliver(
        self, body: bytes | BytesIO, headers: Mapping[str, str] | None = None, *, path: str = WEBHOOK
    ) -> int:
        """Send one webhook, signed unless other headers are given; answers with the status."""
        sent = headers if headers is not None else self.signed(body if isinstance(body, bytes) else body.getvalue())
        async with self.running.http.post(self.running.url + path, data=body, headers=sent) as response:
            await response.read()
            return response.status

    async def settled(self) -> None:
        await self.running.settled()

    async def step(self, clock: SettableClock) -> None:
        """Let the time come at which the first of what waits is tried again, once nothing else is under way.

        Exactly to it: a clock that runs would set all schedules going.
        """
        deferred = select(func.min(t.deliveries.c.next_at)).where(t.deliveries.c.state == "deferred")
        busy = select(t.deliveries.c.id).where(t.deliveries.c.state.in_(("ready", "calling"))).limit(1)
        async with self.running.hub.store.reading() as conn:
            looks = [await conn.scalar(deferred), await conn.scalar(select(func.min(t.blocked.c.next_at)))]
            is_busy = await conn.scalar(busy) is not None
        due = [at for at in looks if at is not None]
        if due and not is_busy:
            clock.advance(max(0.0, (min(due) - clock.now()).total_seconds()))

    async def outcomes(self, route: str) -> list[tuple[str, str | None]]:
        """How the deliveries of a route ended, in order: state and outcome."""
        query = (
            select(t.deliveries.c.state, t.deliveries.c.outcome)
            .join(t.routes, t.routes.c.id == t.deliveries.c.route_id)
            .where(t.routes.c.name == route)
            .order_by(t.deliveries.c.id)
        )
        async with self.running.hub.store.reading() as conn:
            return [(state, outcome) for state, outcome in await conn.execute(query)]

    async def proofs(self) -> list[str]:
        """What the proofs of the webhooks gave; webhooks are proven side by side."""
        return [outcome or "" for _, outcome in await self.outcomes("verify-paypal-webhook")]

    async def records(self, count: int) -> list[PaypalEventRecord]:
        """The rows of the record, once there are so many of them."""

        async def are_there() -> bool:
            return len(await self.entities(PaypalEventRecord)) >= count

        await until(are_there)
        found = await self.entities(PaypalEventRecord)
        assert len(found) == count
        return found

    async def messages(self, queue: str) -> list[Any]:
        """The bodies in a queue."""
        return [json.loads(row.payload) for row in await self.running.queue(queue)]

    async def entities(self, entity: type[Entity]) -> list[Entity]:
        """All rows of a table of the capability."""
        async with self.running.hub.store.reading() as conn, AsyncSession(bind=conn, expire_on_commit=False) as session:
            return list((await session.scalars(select(entity))).all())

    async def assert_everything_is_accounted_for(self) -> None:
        assert (await check(self.running.hub.store)).violations == ()


def fixture(name: str = SALE) -> bytes:
    """A published body, byte for byte."""
    return (DATA / name).read_bytes()


@asynccontextmanager
async def playing(home: Path, database_url: str, clock: Clock | None = None, /, **more: str) -> AsyncIterator[Paypal]:
    """A hub that believes the sandbox's own certificates; in the end everything must be accounted for."""
    # Where no PayPal is played that could be asked, no invoice is made.
    own = {"HUB_PAYPAL_WEBHOOK_ID": WEBHOOK_ID, "HUB_PAYPAL_INVOICE_ENABLED": "0"}
    environ = environment(home, database_url, **{**own, **more})
    async with running(environ, clock=clock) as hub:
        paypal = Paypal(hub, Authority.of(home / "sandbox" / "paypal"))
        yield paypal
        await paypal.assert_everything_is_accounted_for()
