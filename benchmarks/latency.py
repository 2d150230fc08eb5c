"""From the due moment of an event to its message in the output queue, at rates that do not wait for the worker."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks import judge
from benchmarks.baselines.settings import environment_of
from benchmarks.databases import database
from benchmarks.drain import Beside
from benchmarks.figures import Figure, Reading, figure_between
from benchmarks.hubs import Site, hub_process, site
from benchmarks.load import Load
from benchmarks.processes import Child, child, home, run_child
from benchmarks.rawamqp import connect
from benchmarks.waiting import DRAIN_S_MAX, FIRST_S_MAX, PREFETCH, settled, until_depth
from benchmarks.wiring import Names

HALF = 0.5
POISON_EVERY = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One stretch at one rate; with no rate it is half of what the worker has just shown that it can do."""

    name: str
    seconds: float
    per_s: float = 0.0
    poison_every: int = 0

    def load(self, per_s: float) -> Load:
        return Load(events=int(per_s * self.seconds), prefix=f"{self.name}-", poison_every=self.poison_every)


async def latency_of_hub(
    phases: Sequence[Phase], *, broker_url: str, probe: int, beside: Beside | None = None
) -> list[Figure]:
    """One hub through all phases. A backlog of ``probe`` events shows first what it can do at most."""
    figures: list[Figure] = []
    async with (
        database() as url,
        home() as folder,
        site(folder, database_url=url, broker_url=broker_url) as where,
        hub_process(where) as hub,
    ):
        first = Load(events=probe, prefix="probe-")
        loads = [first]
        peak = await _probe(where, hub, first)
        await settled(url, loads)
        for phase in phases:
            per_s = phase.per_s or HALF * peak
            load = phase.load(per_s)
            loads.append(load)
            companion = beside(hub) if beside is not None else None
            figures.append(await _phase(phase, load, per_s, where.broker_url, _ends_of(where), hub))
            if companion is not None:
                await companion
            found = await settled(url, loads)
            # What arrived was counted by the load itself, which waits for every id.
            judge.refuse(judge.wrong_with_hub(found, loads, None))
    return figures


async def latency_of_naive(phase: Phase, *, broker_url: str) -> Figure:
    """The naive baseline through one phase."""
    names, load = Names(), phase.load(phase.per_s)
    async with database() as url, home() as folder, connect(broker_url) as channel:
        try:
            await channel.declare(names.queue_in)
            await channel.declare(names.queue_out)
            environ = environment_of(database_url=url, broker_url=broker_url, names=names)
            async with child(["-m", "benchmarks.baselines.naive"], home=folder, environ=environ) as worker:
                ends = {"BENCH_QUEUE_IN": names.queue_in, "BENCH_QUEUE_OUT": names.queue_out}
                figure = await _phase(phase, load, phase.per_s, broker_url, ends, worker)
            found = await judge.read_postgres(url, judge.BASELINE_QUERIES)
            judge.refuse(judge.wrong_with_baseline(found, [load], None))
        finally:
            await channel.delete(queues=[names.queue_in, names.queue_out])
    return figure


def _ends_of(where: Site) -> dict[str, str]:
    return {"BENCH_EXCHANGE_IN": where.names.exchange_in, "BENCH_QUEUE_OUT": where.names.queue_out}


async def _probe(where: Site, hub: Child, load: Load) -> float:
    """Events a second at most, found with a backlog; the messages are taken out of the output queue."""
    names = where.names
    async with connect(where.broker_url) as channel, connect(where.broker_url) as other:
        await channel.publish_all(load.messages(), exchange=names.exchange_in, routing_key="bench.deposit")
        done = await until_depth(other, names.queue_out, max(1, load.events // 10), hub, FIRST_S_MAX)
        start = Reading.of(hub)
        await until_depth(other, names.queue_out, load.events, hub, DRAIN_S_MAX)
        peak = (load.events - done) / (Reading.of(hub).at_s - start.at_s) if done < load.events else load.events
        await other.start_consuming(names.queue_out, prefetch=PREFETCH)
        await other.take(load.events, lambda _: None, timeout_s=DRAIN_S_MAX)
    return peak


async def _phase(
    phase: Phase, load: Load, per_s: float, broker_url: str, ends: Mapping[str, str], worker: Child
) -> Figure:
    environ = {
        **ends,
        "BENCH_BROKER_URL": broker_url,
        "BENCH_PREFIX": load.prefix,
        "BENCH_RATE": str(per_s),
        "BENCH_SECONDS": str(phase.seconds),
        "BENCH_POISON_EVERY": str(phase.poison_every),
    }
    start = Reading.of(worker)
    told = json.loads(await run_child(["-m", "benchmarks.openloop"], environ=environ, timeout_s=DRAIN_S_MAX))
    counted = figure_between(
        start,
        Reading.of(worker),
        contestant=phase.name,
        events=load.events,
        peak_mb=worker.peak_mb(),
        values={name: told[name] for name in ("p50_ms", "p99_ms", "max_ms")},
    )
    return replace(counted, per_s=per_s)
