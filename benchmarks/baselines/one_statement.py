"""The second baseline: a FastStream subscriber, and one asyncpg statement for all that a message does."""

from __future__ import annotations

import asyncio

import asyncpg
from faststream import AckPolicy
from faststream.rabbit import Channel, RabbitBroker, RabbitQueue
from faststream.rabbit.annotations import RabbitMessage
from sqlalchemy.ext.asyncio import create_async_engine

from benchmarks.baselines.models import CLEARING, Deposit, create_tables, credited
from benchmarks.baselines.settings import Places, say_ready_and_wait

PREFETCH = 10

# A known id makes no row in "new", and then nothing else happens either. The check on accounts refuses an overdraft.
CREDIT = f"""
WITH new AS (
    INSERT INTO events (id, payload) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING id
), balance AS (
    UPDATE accounts SET balance = balance + $4 WHERE code = $3 AND EXISTS (SELECT FROM new)
), entry AS (
    INSERT INTO entries (event_id) SELECT id FROM new RETURNING id
), legs AS (
    INSERT INTO postings (entry_id, account, amount)
    SELECT entry.id, leg.account, leg.amount
    FROM entry, (VALUES ('{CLEARING}', -$4::bigint), ($3::varchar, $4::bigint)) AS leg (account, amount)
)
INSERT INTO outbox (message_id, payload) SELECT id, $5 FROM new RETURNING message_id
"""


async def main(places: Places) -> None:
    engine = create_async_engine(places.database_url)
    await create_tables(engine)
    await engine.dispose()
    address = places.database_url.replace("+asyncpg", "")
    pool = await asyncpg.create_pool(address, min_size=PREFETCH, max_size=PREFETCH)
    broker = RabbitBroker(places.broker_url, logger=None)
    queue = RabbitQueue(places.queue_in, durable=True)

    @broker.subscriber(queue, channel=Channel(prefetch_count=PREFETCH), ack_policy=AckPolicy.MANUAL)
    async def on_deposit(deposit: Deposit, message: RabbitMessage) -> None:
        payload = credited(deposit)
        message_id = await pool.fetchval(CREDIT, deposit.id, message.body, deposit.wallet, deposit.amount, payload)
        if message_id is not None:
            await broker.publish(
                payload,
                queue=places.queue_out,
                message_id=message_id,
                content_type="application/json",
                persist=True,
            )
        await message.ack()

    async with broker:
        await broker.start()
        await say_ready_and_wait()
    await pool.close()


if __name__ == "__main__":
    asyncio.run(main(Places.of_environment()))
