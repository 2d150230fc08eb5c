"""What it costs to find and to count pending work: ``python -m benchmarks.pending``, with the hub's settings.

A few events are accepted and left undone, then the worker's own reading is timed. Prints one JSON object with medians
in milliseconds. The database is of no use for anything else afterwards.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import time
from collections.abc import Awaitable, Callable

from sqlalchemy.ext.asyncio import AsyncConnection

from benchmarks.load import Load
from hub.app import Hub
from hub.cli.logs import set_up_logs
from hub.deliver.backlog import read_backlog
from hub.deliver.picker import pick
from hub.event import LANES
from hub.inbox.received import Received

PENDING = 200
TIMES = 40


async def main() -> dict[str, float]:
    set_up_logs(level="info", as_json=True)  # as a hub in service writes them
    hub = await Hub.open(os.environ)
    await hub.start(())
    try:
        load = Load(events=PENDING, prefix="pending-")
        await hub.acceptor.accept_all([Received(source="bench", body=load.body(number)) for number in range(PENDING)])

        async def picking(conn: AsyncConnection) -> None:
            found = await pick(conn, range(LANES), limit=PENDING, now=hub.clock.now())
            if len(found.works) != PENDING:
                raise RuntimeError(f"expected {PENDING} pending deliveries, found {len(found.works)}")

        async def counting(conn: AsyncConnection) -> None:
            await read_backlog(conn, hub.clock.now())

        return {"pick_ms": await _median_ms(hub, picking), "count_ms": await _median_ms(hub, counting)}
    finally:
        await hub.stop()


async def _median_ms(hub: Hub, work: Callable[[AsyncConnection], Awaitable[None]]) -> float:
    times = []
    for _ in range(TIMES):
        async with hub.store.reading() as conn:
            start = time.perf_counter()
            await work(conn)
            times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main())))
