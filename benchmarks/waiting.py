"""Waiting for a run to get somewhere, by looking at queues and tables from outside. Every wait has a bound."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Mapping

from benchmarks import judge
from benchmarks.judge import Arrivals
from benchmarks.load import Load
from benchmarks.processes import Child
from benchmarks.rawamqp import RawChannel, connect

POLL_S = 0.01
FIRST_S_MAX = 240.0
DRAIN_S_MAX = 600.0
SETTLE_S_MAX = 240.0
SETTLE_POLL_S = 0.1
PREFETCH = 1_000
# Only what the waiting needs: the judge's own queries read whole tables.
SETTLED_QUERIES = {name: judge.HUB_QUERIES[name] for name in ("open", "done", "parked", "duplicates")} | {
    "unsent": "SELECT count(*) FROM outbox WHERE state NOT IN ('sent', 'discarded')"
}


async def until_depth(channel: RawChannel, queue: str, wanted: int, worker: Child, seconds: float) -> int:
    """Wait until so many messages are in the queue; how many they are then. Raises RuntimeError if they do not come."""
    depth = 0
    try:
        async with asyncio.timeout(seconds):
            while (depth := await channel.depth(queue)) < wanted:
                if worker.process.returncode is not None:
                    raise RuntimeError(f"the worker ended: {worker.said()}")
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise RuntimeError(f"{depth} of {wanted} messages after {seconds:g} s: {worker.said()}") from None
    return depth


async def until_empty(channel: RawChannel, queue: str) -> None:
    """Wait until nothing is left in the queue."""
    async with asyncio.timeout(SETTLE_S_MAX):
        while await channel.depth(queue):  # noqa: ASYNC110 - a broker sets no event of ours
            await asyncio.sleep(POLL_S)


async def settled(url: str, loads: Collection[Load], before: Mapping[str, int] | None = None) -> dict[str, int]:
    """What the hub's database holds once nothing is open any more; what it holds at the end of the time in any case."""
    loop = asyncio.get_running_loop()
    end = loop.time() + SETTLE_S_MAX
    events, repeats = sum(load.events for load in loads), sum(load.repeats for load in loads)
    while True:
        found = await judge.read_postgres(url, SETTLED_QUERIES)
        new = judge.since(before or {}, found)
        is_done = new["open"] == 0 and new["unsent"] == 0 and new["done"] + new["parked"] == events
        if (is_done and new["duplicates"] == repeats) or loop.time() > end:
            return await judge.read_postgres(url, judge.HUB_QUERIES)
        await asyncio.sleep(SETTLE_POLL_S)


async def arrivals_of(broker_url: str, queue: str) -> Arrivals:
    """Take everything out of the queue."""
    arrivals = Arrivals()
    async with connect(broker_url) as channel:
        depth = await channel.depth(queue)
        await channel.start_consuming(queue, prefetch=PREFETCH)
        await channel.take(depth, lambda body: arrivals.add(json.loads(body)["id"]), timeout_s=DRAIN_S_MAX)
    return arrivals
