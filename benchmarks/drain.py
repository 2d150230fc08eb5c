"""The unit of work from queue to queue: a backlog is put in, the worker starts, and its steady part is measured.

The output queue is not read while the clock runs; its depth tells how far the worker is. The first twentieth warms up.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import judge
from benchmarks.baselines.settings import environment_of
from benchmarks.databases import database, deadlocks
from benchmarks.figures import Figure, Reading, figure_between
from benchmarks.hubs import Site, hub_process, site
from benchmarks.judge import Arrivals
from benchmarks.load import Load
from benchmarks.processes import Child, child
from benchmarks.rawamqp import RawChannel, connect
from benchmarks.wiring import OTHER_ROUTES, Names

WARM_UP_SHARE = 0.05
POLL_S = 0.01
FIRST_S_MAX = 60.0
DRAIN_S_MAX = 300.0
SETTLE_S_MAX = 60.0
SETTLE_POLL_S = 0.1
# Only what the waiting needs: the judge's own queries read whole tables.
SETTLED_QUERIES = {name: judge.HUB_QUERIES[name] for name in ("open", "done", "parked", "duplicates")} | {
    "unsent": "SELECT count(*) FROM outbox WHERE state NOT IN ('sent', 'discarded')"
}

Beside = Callable[[Child], Awaitable[None]]
"""Something that goes on beside a measurement: started with its clock, and waited for after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hubs:
    """How a hub is to be run: what is not said is as a user has it."""

    processes: int = 1
    other_routes: int = OTHER_ROUTES
    has_slow_disk: bool = False
    settings: Mapping[str, str] | None = None


async def drain_by_hub(
    name: str,
    load: Load,
    *,
    broker_url: str,
    how: Hubs | None = None,
    database_url: str = "",
    while_draining: Beside | None = None,
) -> Figure:
    """The hub on PostgreSQL and RabbitMQ; on a database of its own unless one with a history is given."""
    how = how or Hubs()
    async with _database(database_url, how) as url, home() as folder:
        prepared = site(
            folder,
            database_url=url,
            broker_url=broker_url,
            other_routes=how.other_routes,
            settings=how.settings,
        )
        async with prepared as where:
            before = await judge.read_postgres(url, judge.HUB_QUERIES)
            deadlocks_before = await deadlocks(url)
            async with connect(broker_url) as channel:
                await channel.publish_all(
                    load.messages(), exchange=where.names.exchange_in, routing_key="bench.deposit"
                )
                async with hub_process(where, processes=how.processes) as hub:
                    figure = await _measured(name, channel, where.names, load, hub, while_draining)
                    found = judge.since(before, await settled(url, load, before))
                arrivals = await arrivals_of(broker_url, where.names.queue_out)
            judge.refuse(judge.wrong_with_hub(found, [load], arrivals))
            extra = {"deadlocks": float(await deadlocks(url) - deadlocks_before), **_log_counts(where)}
    return _with_values(figure, extra)


async def drain_by_baseline(name: str, module: str, load: Load, *, broker_url: str) -> Figure:
    """One of the baselines that read from RabbitMQ."""
    names = Names()
    async with database() as url, home() as folder, connect(broker_url) as channel:
        try:
            await channel.declare(names.queue_in)
            await channel.declare(names.queue_out)
            await channel.publish_all(load.messages(), routing_key=names.queue_in)
            environ = environment_of(database_url=url, broker_url=broker_url, names=names)
            async with child(["-m", f"benchmarks.baselines.{module}"], home=folder, environ=environ) as worker:
                figure = await _measured(name, channel, names, load, worker, None)
                await _emptied(channel, names.queue_in)
            arrivals = await arrivals_of(broker_url, names.queue_out)
            found = await judge.read_postgres(url, judge.BASELINE_QUERIES)
            judge.refuse(judge.wrong_with_baseline(found, [load], arrivals))
        finally:
            await channel.delete(queues=[names.queue_in, names.queue_out])
    return figure


async def _measured(
    name: str,
    channel: RawChannel,
    names: Names,
    load: Load,
    worker: Child,
    while_draining: Beside | None,
) -> Figure:
    total = load.events - load.poisoned
    first = await until_depth(channel, names.queue_out, max(1, int(total * WARM_UP_SHARE)), worker, FIRST_S_MAX)
    start = Reading.of(worker)
    beside = while_draining(worker) if while_draining is not None else None
    await until_depth(channel, names.queue_out, total, worker, DRAIN_S_MAX)
    end = Reading.of(worker)
    if beside is not None:
        await beside
    return figure_between(
        start,
        end,
        contestant=name,
        events=total - first,
        peak_mb=worker.peak_mb(),
        values={"seconds": end.at_s - start.at_s},
    )


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


async def _emptied(channel: RawChannel, queue: str) -> None:
    async with asyncio.timeout(SETTLE_S_MAX):
        while await channel.depth(queue):  # noqa: ASYNC110 - a broker sets no event of ours
            await asyncio.sleep(POLL_S)


async def settled(url: str, load: Load, before: Mapping[str, int]) -> dict[str, int]:
    """What the database holds once nothing is open any more; what it holds at the end of the time in any case."""
    return await settled_all(url, [load], before)


async def settled_all(url: str, loads: Collection[Load], before: Mapping[str, int] | None = None) -> dict[str, int]:
    """The same for several loads, one after the other."""
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
        await channel.start_consuming(queue, prefetch=1_000)
        await channel.take(depth, lambda body: arrivals.add(json.loads(body)["id"]), timeout_s=DRAIN_S_MAX)
    return arrivals


@asynccontextmanager
async def _database(given: str, how: Hubs) -> AsyncIterator[str]:
    if given:
        yield given
        return
    async with database(has_slow_disk=how.has_slow_disk) as made:
        yield made


@asynccontextmanager
async def home() -> AsyncIterator[Path]:
    """A folder that goes at the end."""
    with tempfile.TemporaryDirectory(prefix="hub-bench-") as folder:
        yield Path(folder)


def _log_counts(where: Site) -> dict[str, float]:
    """How often the hub said something that a figure should be read with."""
    log = "".join(file.read_text(errors="replace") for file in where.home.glob("*.log"))
    words = {"halved": "batch_halved", "paused": "delivery_paused", "relay paused": "relay_paused"}
    return {name: float(log.count(f'"{word}"')) for name, word in words.items()}


def _with_values(figure: Figure, more: Mapping[str, float]) -> Figure:
    return replace(figure, values={**figure.values, **more})
