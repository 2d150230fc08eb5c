"""The unit of work on databases with a past of different lengths, and with rules of different number."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.databases import database
from benchmarks.history import fill
from benchmarks.hubs import loaded_routing, site
from benchmarks.processes import home, run_child
from benchmarks.wiring import Names, routing_yaml
from hub.clock import SystemClock
from hub.event import Event, Verdict, uuid7
from hub.routing import Router

PENDING_S_MAX = 120.0
TYPES = 200
ROUTED = 20_000


@asynccontextmanager
async def database_with_past(events: int) -> AsyncIterator[str]:
    """A prepared database with so many events long done; 0 gives a new one."""
    async with database() as url:
        async with home() as folder, site(folder, database_url=url, broker_url=""):
            if events:
                await fill(url, events)
        yield url


async def pending_cost(url: str) -> dict[str, float]:
    """Milliseconds to pick and to count pending work: ``pick_ms``, ``count_ms``. The last thing to do with one."""
    async with home() as folder, site(folder, database_url=url, broker_url="") as where:
        told = await run_child(["-m", "benchmarks.pending"], environ=where.environ, timeout_s=PENDING_S_MAX)
    return {name: float(value) for name, value in json.loads(told.splitlines()[-1]).items()}


def routing_us(other_routes: int) -> float:
    """Processor microseconds to find the routes of one event, over types of which one in two hundred matches."""
    text = routing_yaml(Names(), other_routes=other_routes)
    router = Router(loaded_routing(text, Path("routing.yaml")))
    events = [_event("bench.deposit" if not number else f"quiet.n{number}.x") for number in range(TYPES)]
    start = time.process_time()
    for number in range(ROUTED):
        router.route(events[number % TYPES])
    return (time.process_time() - start) / ROUTED * 1e6


def _event(type_: str) -> Event:
    now = SystemClock().now()
    return Event(
        id=uuid7(),
        source="bench",
        type=type_,
        key="c1",
        dedupe_id="e1",
        occurred_at=now,
        received_at=now,
        content_type="application/json",
        payload=b'{"id": "e1"}',
        headers={},
        traceparent="",
        verdict=Verdict.TRUSTED,
    )
