"""Serve until stopped: ``python -m tests.support.pubsub_server [PORT]``."""

from __future__ import annotations

import asyncio
import sys

from tests.support.pubsub_server.server import PubSubServer


async def _serve(port: int) -> None:
    server = PubSubServer()
    await server.start(port)
    print(f"export PUBSUB_EMULATOR_HOST={server.address}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]) if len(sys.argv) > 1 else 8085))
