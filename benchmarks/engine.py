"""The hub's engine on SQLite without a broker: accepted in batches, delivered, booked, sent to the embedded queues.

    python -m benchmarks.engine, with the hub's settings, BENCH_EVENTS and BENCH_BATCH

The same objects as in ``hub run``, in one process, fed from memory by one feeder that waits for each batch's commit.
Prints one JSON object: seconds from the first event to the last message in its queue, and processor seconds.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from itertools import islice

from sqlalchemy import func, select

from benchmarks.load import Load
from benchmarks.processes import tree_cpu_s
from hub.app import Hub
from hub.cli.logs import set_up_logs
from hub.inbox.accept import GroupCommit
from hub.inbox.received import OverloadedError, Received
from hub.store import tables as t

DRAIN_S_MAX = 120.0
POLL_S = 0.05


async def main(load: Load, batch: int) -> dict[str, float]:
    set_up_logs(level="info", as_json=True)  # as a hub in service writes them
    hub = await Hub.open(os.environ)
    await hub.start(("worker", "relay"))
    try:
        cpu, start = tree_cpu_s(os.getpid()), time.perf_counter()
        messages = (Received(source="bench", body=body) for _, body in load.messages())
        while group := list(islice(messages, batch)):
            await _accept(hub.acceptor, group)
        await _until_sent(hub, load.events)
        return {"seconds": time.perf_counter() - start, "cpu_s": tree_cpu_s(os.getpid()) - cpu}
    finally:
        await hub.stop()


async def _accept(acceptor: GroupCommit, group: list[Received]) -> None:
    async with asyncio.timeout(DRAIN_S_MAX):
        while True:
            try:
                await acceptor.accept_all(group)
                return
            except OverloadedError:
                await asyncio.sleep(POLL_S)


async def _until_sent(hub: Hub, events: int) -> None:
    sent = select(func.count()).select_from(t.local_messages)
    async with asyncio.timeout(DRAIN_S_MAX):
        while True:
            async with hub.store.reading() as conn:
                if (await conn.scalar(sent) or 0) >= events:
                    return
            await asyncio.sleep(POLL_S)


if __name__ == "__main__":
    size = int(os.environ["BENCH_BATCH"])
    print(json.dumps(asyncio.run(main(Load(events=int(os.environ["BENCH_EVENTS"])), size))))
