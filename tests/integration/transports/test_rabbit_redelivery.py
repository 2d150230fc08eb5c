"""Messages without an id, from RabbitMQ into the inbox, while acknowledgements get lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from sqlalchemy import func, select

from hub.clock import SystemClock
from hub.inbox.accept import GroupCommit
from hub.inbox.consumer import QueueConsumer
from hub.inbox.received import Accepted, Received
from hub.store import tables as t
from hub.transports import Delivered
from hub.transports.rabbit import RabbitTransport
from hub.transports.tables import unproven
from tests.integration.transports.rabbit_parts import Rabbit, confirmed
from tests.support.parts import Parts, assemble
from tests.support.patience import until

ROUTES = "routes: []\n"
BODIES = (b'{"card":"delete"}', b'{"card":"restore"}', b'{"card":"delete"}', b"{broken", b"{broken")


class CutOnce(GroupCommit):
    """Stores the first batch, and then the connection goes before it is acknowledged."""

    rabbit: Rabbit | None = None

    async def accept_all(self, messages: Sequence[Received]) -> list[Accepted]:
        accepted = await super().accept_all(messages)
        if self.rabbit is not None:
            self.rabbit.proxy.cut()
            self.rabbit = None
            # The cut must be known here before the acknowledgement is written, or it would only seem to be lost.
            await asyncio.sleep(0.1)
        return accepted


class _Anonymous(QueueConsumer):
    def _received(self, delivered: Delivered) -> Received:
        return replace(super()._received(delivered), message_id="")


@asynccontextmanager
async def reading(rabbit: Rabbit, parts: Parts, transport: RabbitTransport, *, cut: bool) -> AsyncIterator[None]:
    inbox = CutOnce(
        rabbit.store, SystemClock(), lambda: parts.wiring.drafter, lambda: parts.rules.route_ids, parts.to_deliver
    )
    inbox.rabbit = rabbit if cut else None
    stopping = asyncio.Event()
    consumer = _Anonymous("shop", rabbit("orders"), transport, inbox)
    tasks = [asyncio.create_task(inbox.run()), asyncio.create_task(consumer.run(stopping))]
    try:
        yield
    finally:
        stopping.set()
        await tasks[1]
        inbox.stop()
        await tasks[0]


async def count(rabbit: Rabbit, table: object) -> int:
    async with rabbit.store.reading() as conn:
        return int(await conn.scalar(select(func.count()).select_from(table)) or 0)  # type: ignore[arg-type]


async def test_what_was_stored_but_not_acknowledged_is_not_stored_again(rabbit: Rabbit) -> None:
    transport = await rabbit.ready()
    await confirmed(transport, [replace(rabbit.message(), payload=body) for body in BODIES])

    async with assemble(rabbit.store, ROUTES, {}, start=False) as parts:
        async with reading(rabbit, parts, transport, cut=True):

            async def all_is_settled() -> bool:
                stored, repeats = await count(rabbit, t.inbox), await count(rabbit, t.duplicates)
                return stored >= len(BODIES) and repeats > 0 and await count(rabbit, unproven) == 0

            await until(all_is_settled)

        # However many the first batch held, each of them came again.
        assert [row.payload for row in await parts.rows(t.inbox)] == list(BODIES)


async def test_proven_acknowledgements_leave_nothing_that_could_absorb_a_message(rabbit: Rabbit) -> None:
    transport = await rabbit.ready()
    await confirmed(transport, [replace(rabbit.message(), payload=body) for body in BODIES])

    async with (
        assemble(rabbit.store, ROUTES, {}, start=False) as parts,
        reading(rabbit, parts, transport, cut=False),
    ):

        async def all_proven() -> bool:
            return await count(rabbit, t.inbox) == len(BODIES) and await count(rabbit, unproven) == 0

        await until(all_proven)
        await confirmed(transport, [replace(rabbit.message(), payload=BODIES[0])])

        async def is_an_event() -> bool:
            return await count(rabbit, t.inbox) == len(BODIES) + 1

        await until(is_an_event)
