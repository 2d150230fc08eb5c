"""Make the hub's tables, queues and bindings, and leave: ``python -m benchmarks.prepare``, with the hub's settings.

The load is put into the queue before the hub that is measured starts, so the queue must be there before.
"""

from __future__ import annotations

import asyncio
import os

from hub.app import Hub


async def main() -> None:
    hub = await Hub.open(os.environ)
    await hub.stop()


if __name__ == "__main__":
    asyncio.run(main())
