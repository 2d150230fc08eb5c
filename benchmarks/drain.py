"""The unit of work from queue to queue: a backlog is put in, the worker starts, and its steady part is measured.

The output queue is not read while the clock runs; its depth tells how far the worker is. The first twentieth warms up.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from benchmarks import judge
from benchmarks.baselines.settings import environment_of
from benchmarks.databases import database, deadlocks
from benchmarks.figures import Figure, Reading, figure_between
from benchmarks.hubs import Site, hub_process, site
from benchmarks.load import Load
from benchmarks.processes import Child, child, home
from benchmarks.rawamqp import RawChannel, connect
from benchmarks.waiting import DRAIN_S_MAX, FIRST_S_MAX, arrivals_of, settled, until_depth, until_empty
from benchmarks.wiring import OTHER_ROUTES, Names

WARM_UP_SHARE = 0.05

Beside = Callable[[Child], Awaitable[None]]
"""Something that goes on beside a measurement: started with its clock, and waited for after it."""


class TooShortError(RuntimeError):
    """Everything was done before anybody looked: there is no figure, and more events are needed for one."""


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
    """The hub on PostgreSQL and RabbitMQ; on a database of its own unless one with a history is given.

    Raises: TooShortError, when the load was over before its steady part began to be measured.
    """
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
                    found = judge.since(before, await settled(url, [load], before))
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
                await until_empty(channel, names.queue_in)
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
    if first >= total:
        raise TooShortError(f"{name}: all of {total} messages had arrived when the clock was to start")
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


@asynccontextmanager
async def _database(given: str, how: Hubs) -> AsyncIterator[str]:
    if given:
        yield given
        return
    async with database(has_slow_disk=how.has_slow_disk) as made:
        yield made


def _log_counts(where: Site) -> dict[str, float]:
    """How often the hub said something that a figure should be read with."""
    log = "".join(file.read_text(errors="replace") for file in where.home.glob("*.log"))
    words = {"halved": "batch_halved", "paused": "delivery_paused", "relay paused": "relay_paused"}
    return {name: float(log.count(f'"{word}"')) for name, word in words.items()}


def _with_values(figure: Figure, more: Mapping[str, float]) -> Figure:
    return replace(figure, values={**figure.values, **more})
