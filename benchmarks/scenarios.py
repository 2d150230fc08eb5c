"""What is measured beside what. The contestants of a scenario take turns, so that a slow minute hits all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import asyncpg

from benchmarks.drain import Beside, Hubs, drain_by_baseline, drain_by_hub
from benchmarks.embedded import commits, whole_path
from benchmarks.exchanges import exchanges
from benchmarks.growth import database_with_past, pending_cost, routing_us
from benchmarks.latency import POISON_EVERY, Phase, latency_of_hub, latency_of_naive
from benchmarks.limits import broker_alone, sql_alone
from benchmarks.load import Load
from benchmarks.processes import home
from benchmarks.profile import nothing_to_trace, read_profile, start_profiling
from benchmarks.sqlite import engine_on_sqlite, orm_on_sqlite
from benchmarks.turns import Bench, Run
from benchmarks.webhook import acceptance_by_hub, end_to_end_by_hub, end_to_end_by_orm, server_alone


async def queue(bench: Bench) -> None:
    """The unit of work from queue to queue."""
    plan, url = bench.plan, bench.broker_url
    contestants: dict[str, Run] = {
        "naive": lambda: drain_by_baseline("naive", "naive", Load(events=plan.naive), broker_url=url),
        "hub": lambda: drain_by_hub("hub", Load(events=plan.hub), broker_url=url),
        "one statement": lambda: drain_by_baseline(
            "one statement", "one_statement", Load(events=plan.one_statement), broker_url=url
        ),
        "hub x2": lambda: drain_by_hub("hub x2", Load(events=plan.hub), broker_url=url, how=Hubs(processes=2)),
        "sql alone": lambda: sql_alone("sql alone", Load(events=plan.sql)),
        "broker alone": lambda: broker_alone("broker alone", Load(events=plan.broker), broker_url=url),
    }
    await bench.take_turns("queue", contestants, baseline="naive")


async def trouble(bench: Bench) -> None:
    """The same under what life brings, each beside the plain way."""
    events, url = bench.plan.trouble, bench.broker_url

    def one(name: str, load: Load, how: Hubs | None = None) -> Run:
        return lambda: drain_by_hub(name, load, broker_url=url, how=how)

    contestants: dict[str, Run] = {
        "plain": one("plain", Load(events=events)),
        "slow disk": one("slow disk", Load(events=events), Hubs(has_slow_disk=True)),
        "hot account": one("hot account", Load(events=events, hot="account")),
        "hot key": one("hot key", Load(events=events, hot="key")),
        "poison": one("poison", Load(events=events, poison_every=POISON_EVERY)),
    }
    await bench.take_turns("trouble", contestants)


async def latency(bench: Bench) -> None:
    """From due to delivered, at fixed rates."""
    plan, url = bench.plan, bench.broker_url
    phases = [
        Phase(name="hub at 40/s", seconds=plan.latency_s, per_s=40),
        Phase(name="hub at 400/s", seconds=plan.latency_s, per_s=400),
        Phase(name="hub at half", seconds=plan.latency_s / 2),
        Phase(name="400/s, poison", seconds=plan.latency_s, per_s=400, poison_every=POISON_EVERY),
    ]
    naive = Phase(name="naive at 40/s", seconds=plan.latency_s, per_s=40)
    contestants: dict[str, Run] = {
        "naive": lambda: latency_of_naive(naive, broker_url=url),
        "hub": lambda: latency_of_hub(phases, broker_url=url, probe=plan.latency_probe),
    }
    await bench.take_turns("latency", contestants)


async def webhook(bench: Bench) -> None:
    """Webhooks: accepted durably, and all the way to the queue."""
    plan, url = bench.plan, bench.broker_url
    contestants: dict[str, Run] = {
        "webhook naive": lambda: end_to_end_by_orm("webhook naive", Load(events=plan.webhook_naive), broker_url=url),
        "webhook": lambda: end_to_end_by_hub("webhook", Load(events=plan.webhook), broker_url=url),
        "server alone": lambda: server_alone("server alone", Load(events=plan.server_alone)),
        "accept": lambda: acceptance_by_hub("accept", Load(events=plan.webhook), broker_url=url),
        "webhook x2": lambda: end_to_end_by_hub("webhook x2", Load(events=plan.webhook), broker_url=url, processes=2),
    }
    await bench.take_turns("webhook", contestants, baseline="webhook naive")


async def embedded(bench: Bench) -> None:
    """Webhook to embedded queue with nothing but a database, beside the raw commits of that database."""
    events = bench.plan.webhook
    contestants: dict[str, Run] = {
        "path sqlite": lambda: whole_path("path sqlite", Load(events=events), dialect="sqlite"),
        "commits sqlite": lambda: commits("commits sqlite", dialect="sqlite"),
        "path postgresql": lambda: whole_path("path postgresql", Load(events=events), dialect="postgresql"),
        "commits postgresql": lambda: commits("commits postgresql", dialect="postgresql"),
    }
    await bench.take_turns("embedded", contestants)


async def sqlite(bench: Bench) -> None:
    """SQLite, synchronous FULL, without a broker."""
    plan = bench.plan
    contestants: dict[str, Run] = {
        "sqlite naive": lambda: orm_on_sqlite("sqlite naive", Load(events=plan.sqlite_naive)),
        "sqlite single": lambda: engine_on_sqlite("sqlite single", Load(events=plan.sqlite_single), batch=1),
        "sqlite 100": lambda: engine_on_sqlite("sqlite 100", Load(events=plan.sqlite), batch=100),
        "sqlite 500": lambda: engine_on_sqlite("sqlite 500", Load(events=plan.sqlite), batch=500),
    }
    await bench.take_turns("sqlite", contestants, baseline="sqlite naive")


async def growth(bench: Bench) -> None:
    """The same on databases with a past."""
    plan = bench.plan
    async with AsyncExitStack() as stack:
        databases: dict[int, str] = {}
        for past in plan.pasts:
            try:
                databases[past] = await stack.enter_async_context(database_with_past(past))
            except asyncpg.InsufficientPrivilegeError as error:
                bench.results.remarks.append(f"growth: no past of {past}: {error}")
        count = iter(range(1_000_000))

        def one(past: int, url: str) -> Run:
            # Ids of their own each time: the database remembers those of the earlier repeats.
            return lambda: drain_by_hub(
                f"past {past}",
                Load(events=plan.grown, prefix=f"r{next(count)}-"),
                broker_url=bench.broker_url,
                database_url=url,
            )

        await bench.take_turns("growth", {f"past {past}": one(past, url) for past, url in databases.items()})
        for past, url in databases.items():
            await _add(bench, f"past {past}", partial(pending_cost, url))


async def rules(bench: Bench) -> None:
    """The same with ten, a hundred and a thousand rules."""

    def one(number: int) -> Run:
        how = Hubs(other_routes=number - 1)
        return lambda: drain_by_hub(
            f"rules {number}", Load(events=bench.plan.grown), broker_url=bench.broker_url, how=how
        )

    await bench.take_turns("rules", {f"rules {number}": one(number) for number in bench.plan.rules})
    for number in bench.plan.rules:

        async def cost(number: int = number) -> dict[str, float]:
            return {"route_us": routing_us(number - 1)}

        await _add(bench, f"rules {number}", cost)


async def backlog(bench: Bench) -> None:
    """A long backlog, once by one process and once by two."""
    events, url = bench.plan.backlog, bench.broker_url
    contestants: dict[str, Run] = {
        "backlog": lambda: drain_by_hub("backlog", Load(events=events), broker_url=url),
        "backlog x2": lambda: drain_by_hub("backlog x2", Load(events=events), broker_url=url, how=Hubs(processes=2)),
    }
    await bench.take_turns("backlog", contestants, repeats=1)


async def profile(bench: Bench) -> None:
    """Where the worker's time goes: with a backlog, and at forty events a second."""
    obstacle = nothing_to_trace()
    if obstacle:
        bench.results.remarks.append(f"profile was left out: {obstacle}")
        return
    plan, url = bench.plan, bench.broker_url
    at_rate = Phase(name="profiled at 40/s", seconds=plan.profile_s + 2, per_s=40)
    async with home() as folder:

        def beside(what: str) -> Beside:
            return lambda worker: start_profiling(worker, seconds=plan.profile_s, to=folder / what)

        contestants: dict[str, Run] = {
            "drained": lambda: drain_by_hub(
                "profiled", Load(events=plan.profile), broker_url=url, while_draining=beside("drained")
            ),
            "took 40 a second": lambda: latency_of_hub(
                [at_rate], broker_url=url, probe=plan.profile_probe, beside=beside("took 40 a second")
            ),
        }
        await bench.take_turns("profile", contestants, repeats=1)
        for what in contestants:
            if (folder / what).exists():
                bench.results.profiles[what] = read_profile(await asyncio.to_thread(_lines, folder / what))


SCENARIOS: Mapping[str, Callable[[Bench], Awaitable[None]]] = {
    "queue": queue,
    "trouble": trouble,
    "latency": latency,
    "webhook": webhook,
    "embedded": embedded,
    "sqlite": sqlite,
    "growth": growth,
    "rules": rules,
    "backlog": backlog,
    "exchanges": exchanges,
    "profile": profile,
}


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines()


async def _add(bench: Bench, contestant: str, measure: Callable[[], Awaitable[Mapping[str, float]]]) -> None:
    """Put further numbers beside what a contestant has."""
    figures = bench.results.figures.get(contestant)
    if not figures:
        return
    try:
        more = await measure()
    except Exception as error:
        bench.results.failures.append(f"{contestant}: {type(error).__name__}: {error}")
        return
    bench.results.figures[contestant] = [replace(one, values={**one.values, **more}) for one in figures]
