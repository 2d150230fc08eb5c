"""Webhooks: the durable 200 alone beside the same server without a database, and end to end beside the naive way."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace

from benchmarks import judge
from benchmarks.baselines.settings import environment_of
from benchmarks.databases import database
from benchmarks.figures import Figure, Reading, figure_between
from benchmarks.hubs import free_port, hub_process, site
from benchmarks.load import Load
from benchmarks.processes import Child, child, home, run_child
from benchmarks.rawamqp import connect
from benchmarks.waiting import arrivals_of, settled
from benchmarks.wiring import Names

CONNECTIONS = 64
SEND_S_MAX = 300.0
BACKLOG_S_MAX = 120.0
POLL_S = 0.01


async def end_to_end_by_hub(name: str, load: Load, *, broker_url: str, processes: int = 1) -> Figure:
    """Webhook to ledger to RabbitMQ, everything in the hub."""
    async with database() as url, home() as folder, site(folder, database_url=url, broker_url=broker_url) as where:
        async with hub_process(where, processes=processes) as hub:
            figure = await sent(name, load, where.port, hub, queue_out=where.names.queue_out, broker_url=broker_url)
            found = await settled(url, [load])
        arrivals = await arrivals_of(broker_url, where.names.queue_out)
        judge.refuse(judge.wrong_with_hub(found, [load], arrivals))
    return figure


async def acceptance_by_hub(name: str, load: Load, *, broker_url: str) -> Figure:
    """The durable 200 alone: a hub that only accepts (``--role ingress``), with nothing left out of the acceptance."""
    async with database() as url, home() as folder, site(folder, database_url=url, broker_url=broker_url) as where:
        async with hub_process(where, roles=["ingress"]) as hub:
            figure = await sent(name, load, where.port, hub)
        found = await judge.read_postgres(url, judge.HUB_QUERIES)
        judge.refuse(judge.wrong_with_acceptance(found, [load]))
    return figure


async def end_to_end_by_orm(name: str, load: Load, *, broker_url: str) -> Figure:
    """The naive webhook."""
    names, port = Names(), free_port()
    async with database() as url, home() as folder, connect(broker_url) as channel:
        try:
            await channel.declare(names.queue_out)
            environ = environment_of(database_url=url, broker_url=broker_url, names=names, port=port)
            async with child(["-m", "benchmarks.baselines.webhook_orm"], home=folder, environ=environ) as worker:
                figure = await sent(name, load, port, worker, queue_out=names.queue_out, broker_url=broker_url)
            found = await judge.read_postgres(url, judge.BASELINE_QUERIES)
            judge.refuse(judge.wrong_with_baseline(found, [load], await arrivals_of(broker_url, names.queue_out)))
        finally:
            await channel.delete(queues=[names.queue_out])
    return figure


async def server_alone(name: str, load: Load) -> Figure:
    """The same HTTP server with the signature and no database."""
    port = free_port()
    async with home() as folder:
        environ = environment_of(port=port)
        async with child(["-m", "benchmarks.baselines.webhook_bare"], home=folder, environ=environ) as worker:
            return await sent(name, load, port, worker)


async def sent(name: str, load: Load, port: int, worker: Child, *, queue_out: str = "", broker_url: str = "") -> Figure:
    """Send the load. With a queue, the clock runs until all has arrived there; without, until the last answer."""
    start = Reading.of(worker)
    environ = {
        "BENCH_PORT": str(port),
        "BENCH_EVENTS": str(load.events),
        "BENCH_PREFIX": load.prefix,
        "BENCH_CONNECTIONS": str(CONNECTIONS),
    }
    told = json.loads(await run_child(["-m", "benchmarks.httpload"], environ=environ, timeout_s=SEND_S_MAX))
    acked = told["ended_at_s"] - told["started_at_s"]
    backlog_s = await _backlog_s(load, queue_out, broker_url, told["ended_at_s"]) if queue_out else 0.0
    values = {
        "acks_per_s": told["requests"] / acked,
        "ack_p50_ms": told["ack_p50_ms"],
        "ack_p99_ms": told["ack_p99_ms"],
        "backlog_s": backlog_s,
    }
    counted = figure_between(
        start, Reading.of(worker), contestant=name, events=load.events, peak_mb=worker.peak_mb(), values=values
    )
    # The sender's own start is not part of it.
    return replace(counted, per_s=load.events / (acked + backlog_s))


async def _backlog_s(load: Load, queue: str, broker_url: str, since_s: float) -> float:
    """How long after the last answer the last message was in its queue."""
    async with connect(broker_url) as channel, asyncio.timeout(BACKLOG_S_MAX):
        while await channel.depth(queue) < load.events:  # noqa: ASYNC110 - a broker sets no event of ours
            await asyncio.sleep(POLL_S)
    return time.monotonic() - since_s
