"""The naive baseline: a FastStream subscriber, an ORM session and transaction per message, then a confirmed publish."""

from __future__ import annotations

import asyncio

from faststream import AckPolicy
from faststream.rabbit import Channel, RabbitBroker, RabbitQueue
from faststream.rabbit.annotations import RabbitMessage
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from benchmarks.baselines.models import Deposit, create_tables, credit
from benchmarks.baselines.settings import Places, say_ready_and_wait

PREFETCH = 10


async def main(places: Places) -> None:
    engine = create_async_engine(places.database_url, pool_size=PREFETCH)
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    await create_tables(engine)
    broker = RabbitBroker(places.broker_url, logger=None)
    queue = RabbitQueue(places.queue_in, durable=True)

    @broker.subscriber(queue, channel=Channel(prefetch_count=PREFETCH), ack_policy=AckPolicy.MANUAL)
    async def on_deposit(deposit: Deposit, message: RabbitMessage) -> None:
        credited = await credit(sessions, deposit, message.body)
        if credited is not None:
            await broker.publish(
                credited.payload,
                queue=places.queue_out,
                message_id=credited.message_id,
                content_type="application/json",
                persist=True,
            )
        await message.ack()

    async with broker:
        await broker.start()
        await say_ready_and_wait()
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main(Places.of_environment()))
