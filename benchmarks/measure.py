"""One measurement: start a hub, send the load, wait until everything is sent on, judge, and stop."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import asyncpg

from benchmarks import commits, judge
from benchmarks.hubprocess import PROJECT, WEBHOOK_KEY, hub_process, postgres_cpu_s

CONNECTIONS = 64
DRAIN_S_MAX = 120.0


@dataclass(frozen=True, slots=True)
class Figure:
    """What one run gave. Rates are per second, times in milliseconds, processor seconds per 1,000 events."""

    database: str
    events: int
    accepted_per_s: float
    done_per_s: float
    ack_p50_ms: float
    ack_p99_ms: float
    hub_cpu_s: float
    database_cpu_s: float
    peak_mb: float
    single_commits_per_s: float
    hundred_commits_per_s: float

    @property
    def per_commit(self) -> float:
        """Whole events for each single-row commit that the machine can do in the same time."""
        return self.done_per_s / self.single_commits_per_s

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "events_per_single_commit": self.per_commit}


@dataclass(frozen=True, slots=True)
class Place:
    """Where one hub runs."""

    database: str
    url: str
    home: Path
    port: int


@dataclass(frozen=True, slots=True)
class Load:
    """What the load process saw."""

    seconds: float
    requests: int
    acks_ms: list[float]


async def measure_sqlite(events: int, port: int, yardstick_s: float) -> Figure:
    """The whole path on SQLite, synchronous FULL."""
    with tempfile.TemporaryDirectory(prefix="hub-bench-") as folder:
        home = Path(folder)
        single = commits.sqlite_commits(home / "yardstick.db", seconds=yardstick_s, rows=1)
        hundred = commits.sqlite_commits(home / "yardstick.db", seconds=yardstick_s, rows=100)

        async def read() -> dict[str, int]:
            return await asyncio.to_thread(judge.read_sqlite, home / "hub.db")

        return await _measure(Place("sqlite", "", home, port), events, read, (single, hundred))


async def measure_postgres(events: int, port: int, yardstick_s: float, server: str) -> Figure:
    """The whole path on a database of its own on this server."""
    name = f"hub_bench_{port}"
    admin = await asyncpg.connect(server)
    await admin.execute(f"DROP DATABASE IF EXISTS {name}")
    await admin.execute(f"CREATE DATABASE {name}")
    url = f"{server.rpartition('/')[0]}/{name}"
    try:
        await commits.postgres_durability(url)
        single = await commits.postgres_commits(url, seconds=yardstick_s, rows=1)
        hundred = await commits.postgres_commits(url, seconds=yardstick_s, rows=100)

        async def read() -> dict[str, int]:
            return await judge.read_postgres(url)

        with tempfile.TemporaryDirectory(prefix="hub-bench-") as folder:
            return await _measure(Place("postgresql", url, Path(folder), port), events, read, (single, hundred))
    finally:
        await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await admin.close()


async def _measure(
    place: Place, events: int, read: Callable[[], Awaitable[dict[str, int]]], yardsticks: tuple[float, float]
) -> Figure:
    async with hub_process(place.home, place.port, place.url) as hub:
        url = place.url
        cpu, database_cpu = hub.cpu_s(), postgres_cpu_s() if url else 0.0
        start = time.perf_counter()
        load = await _load(f"{hub.url}/webhooks/bench", events)
        while True:
            found = await read()
            if found["open"] == 0 and found["sent"] == found["outbox"] == events:
                break
            if time.perf_counter() - start > DRAIN_S_MAX:
                raise RuntimeError(f"the hub did not finish: {found}")
            await asyncio.sleep(0.05)
        seconds = time.perf_counter() - start
        problems = judge.wrong(found, events=events, repeats=load.requests - events)
        if problems:
            raise RuntimeError(f"the run was wrong, so it has no figure: {'; '.join(problems)}")
        acks = load.acks_ms
        return Figure(
            database=place.database,
            events=events,
            accepted_per_s=load.requests / load.seconds,
            done_per_s=events / seconds,
            ack_p50_ms=acks[len(acks) // 2],
            ack_p99_ms=acks[int(len(acks) * 0.99)],
            hub_cpu_s=(hub.cpu_s() - cpu) / events * 1000,
            database_cpu_s=((postgres_cpu_s() - database_cpu) if url else 0.0) / events * 1000,
            peak_mb=hub.peak_mb(),
            single_commits_per_s=yardsticks[0],
            hundred_commits_per_s=yardsticks[1],
        )


async def _load(url: str, events: int) -> Load:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.load",
        url,
        WEBHOOK_KEY,
        str(events),
        str(CONNECTIONS),
        stdout=asyncio.subprocess.PIPE,
        cwd=PROJECT,
    )
    out, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError("the load did not come through")
    return Load(**json.loads(out))
