"""What the database and the broker can do at most on this machine, with nothing of a worker in between."""

from __future__ import annotations

import json
import time

from benchmarks import judge
from benchmarks.baselines.settings import environment_of
from benchmarks.databases import database
from benchmarks.figures import Figure, Reading, figure_between
from benchmarks.load import Load
from benchmarks.processes import run_child
from benchmarks.rawamqp import connect
from benchmarks.wiring import Names

RUN_S_MAX = 200.0
PREFETCH = 1_000


async def sql_alone(name: str, load: Load) -> Figure:
    """The unit of work as SQL alone."""
    async with database() as url:
        environ = environment_of(database_url=url, events=load.events)
        start = Reading.of(None)
        told = json.loads(
            await run_child(["-m", "benchmarks.baselines.sql_alone"], environ=environ, timeout_s=RUN_S_MAX)
        )
        end = Reading.of(None)
        judge.refuse(judge.wrong_with_baseline(await judge.read_postgres(url, judge.BASELINE_QUERIES), [load], None))
    return Figure(
        contestant=name,
        events=load.events,
        per_s=load.events / told["seconds"],
        worker_cpu_s=told["cpu_s"] / load.events * 1000,
        database_cpu_s=(end.database_cpu_s - start.database_cpu_s) / load.events * 1000,
    )


async def broker_alone(name: str, load: Load, *, broker_url: str) -> Figure:
    """Confirmed publishing into a durable queue, then consuming with acknowledgements, by raw frames."""
    queue = Names().queue_in
    messages = list(load.messages())
    seen: set[bytes] = set()
    async with connect(broker_url) as channel:
        try:
            await channel.declare(queue)
            start = Reading.of(None)
            published = await channel.publish_all(messages, routing_key=queue)
            end = Reading.of(None)
            await channel.start_consuming(queue, prefetch=PREFETCH)
            consuming = time.perf_counter()
            await channel.take(published, seen.add, timeout_s=RUN_S_MAX)
            consumed_s = time.perf_counter() - consuming
        finally:
            await channel.delete(queues=[queue])
    if len(seen) != load.events:
        raise RuntimeError(f"published {load.events} different messages, consumed {len(seen)}")
    return figure_between(
        start, end, contestant=name, events=published, peak_mb=0.0, values={"consumed_per_s": published / consumed_s}
    )
