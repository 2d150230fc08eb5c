"""The naive webhook: aiohttp, the signature, the ORM transaction, the confirmed publish, and only then 200."""

from __future__ import annotations

import asyncio
import hmac

from aiohttp import web
from faststream.rabbit import RabbitBroker
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from benchmarks.baselines.models import Deposit, create_tables, credit, signature_of
from benchmarks.baselines.settings import Places, say_ready_and_wait

CONNECTIONS = 10


async def main(places: Places) -> None:
    engine = create_async_engine(places.database_url, pool_size=CONNECTIONS, max_overflow=0)
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    await create_tables(engine)
    broker = RabbitBroker(places.broker_url, logger=None)

    async def on_webhook(request: web.Request) -> web.Response:
        body = await request.read()
        if not hmac.compare_digest(request.headers.get("X-Signature", ""), signature_of(places.secret, body)):
            return web.json_response({"success": False}, status=401)
        try:
            deposit = Deposit.model_validate_json(body)
        except ValidationError:
            return web.json_response({"success": False}, status=400)
        message = await credit(sessions, deposit, body)
        if message is not None:
            await broker.publish(
                message.payload,
                queue=places.queue_out,
                message_id=message.message_id,
                content_type="application/json",
                persist=True,
            )
        return web.json_response({"success": True})

    app = web.Application()
    app.router.add_post("/webhooks/bench", on_webhook)
    runner = web.AppRunner(app, access_log=None)
    async with broker:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", places.port).start()
        await say_ready_and_wait()
        await runner.cleanup()
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main(Places.of_environment()))
