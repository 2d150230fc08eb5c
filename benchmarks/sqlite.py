"""SQLite with synchronous FULL: the hub's engine, one event or a batch at a time, beside the ORM; no broker."""

from __future__ import annotations

import asyncio
import json

from benchmarks import judge
from benchmarks.baselines.settings import environment_of
from benchmarks.figures import Figure
from benchmarks.hubs import site
from benchmarks.load import Load
from benchmarks.processes import home, run_child

RUN_S_MAX = 200.0


async def engine_on_sqlite(name: str, load: Load, *, batch: int) -> Figure:
    """The hub, accepting in transactions of this size. With one, deliveries are batched as they come, as ever."""
    settings = {"HUB_BATCH_SIZE": str(batch)} if batch > 1 else {}
    async with home() as folder, site(folder, database_url="", broker_url="", settings=settings) as where:
        environ = {**where.environ, "BENCH_EVENTS": str(load.events), "BENCH_BATCH": str(batch)}
        told = json.loads(
            (await run_child(["-m", "benchmarks.engine"], environ=environ, timeout_s=RUN_S_MAX)).splitlines()[-1]
        )
        file = folder / "hub.db"
        found = await asyncio.to_thread(judge.read_sqlite, file, judge.HUB_QUERIES)
        arrivals = await asyncio.to_thread(judge.arrived_sqlite, file)
        judge.refuse(judge.wrong_with_hub(found, [load], arrivals))
    return _figure(name, load, told)


async def orm_on_sqlite(name: str, load: Load) -> Figure:
    """The naive way."""
    async with home() as folder:
        file = folder / "naive.db"
        environ = environment_of(database_url=f"sqlite:///{file}", events=load.events)
        told = json.loads(
            await run_child(["-m", "benchmarks.baselines.sqlite_orm"], environ=environ, timeout_s=RUN_S_MAX)
        )
        found = await asyncio.to_thread(judge.read_sqlite, file, judge.BASELINE_QUERIES)
        judge.refuse(judge.wrong_with_baseline(found, [load], None))
    return _figure(name, load, told)


def _figure(name: str, load: Load, told: dict[str, float]) -> Figure:
    return Figure(
        contestant=name,
        events=load.events,
        per_s=load.events / told["seconds"],
        worker_cpu_s=told["cpu_s"] / load.events * 1000,
    )
