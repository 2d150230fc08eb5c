"""The limit of the HTTP server: aiohttp and the signature, no database, no broker."""

from __future__ import annotations

import asyncio
import hmac

from aiohttp import web

from benchmarks.baselines.models import signature_of
from benchmarks.baselines.settings import Places, say_ready_and_wait


async def main(places: Places) -> None:
    async def on_webhook(request: web.Request) -> web.Response:
        body = await request.read()
        if not hmac.compare_digest(request.headers.get("X-Signature", ""), signature_of(places.secret, body)):
            return web.json_response({"success": False}, status=401)
        return web.json_response({"success": True})

    app = web.Application()
    app.router.add_post("/webhooks/bench", on_webhook)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", places.port).start()
    await say_ready_and_wait()
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main(Places.of_environment()))
