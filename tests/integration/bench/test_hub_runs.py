"""The hub under measurement, small: every kind of run comes through the judge, and cleans up behind itself."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace

import pytest

from benchmarks.databases import connected, database, server
from benchmarks.drain import Hubs, TooShortError, drain_by_hub
from benchmarks.figures import Figure
from benchmarks.growth import database_with_past, pending_cost
from benchmarks.latency import Phase, latency_of_hub
from benchmarks.load import Load
from benchmarks.webhook import acceptance_by_hub, end_to_end_by_hub
from hub.errors import ConfigError

RABBITMQ = os.environ.get("HUB_TEST_RABBITMQ_URL", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not RABBITMQ, reason="HUB_TEST_RABBITMQ_URL names no RabbitMQ"),
    pytest.mark.skipif(not os.environ.get("HUB_TEST_POSTGRES_URL"), reason="HUB_TEST_POSTGRES_URL names no PostgreSQL"),
]


async def test_a_drain_with_poison_parks_the_poison_and_nothing_else() -> None:
    load = Load(events=200, poison_every=100)

    load, figure = await drained("poison", load)

    # The judge has looked: two in two hundred parked, the others booked once and arrived.
    assert 0 < figure.events < load.events - load.poisoned
    assert figure.number("deadlocks") == 0
    assert figure.worker_cpu_s > 0


async def test_a_past_is_one_that_the_hub_can_go_on_from() -> None:
    async with database_with_past(2_000) as url:
        _, figure = await drained("past", Load(events=1_500, prefix="new-"), database_url=url)
        cost = await pending_cost(url)

    assert figure.per_s > 0
    assert set(cost) == {"pick_ms", "count_ms"}


async def test_webhooks_are_counted_to_the_queue_or_to_the_answer() -> None:
    whole = await end_to_end_by_hub("webhook", Load(events=100), broker_url=RABBITMQ)
    accepted = await acceptance_by_hub("accept", Load(events=100), broker_url=RABBITMQ)

    assert whole.number("backlog_s") > 0
    assert accepted.number("backlog_s") == 0
    assert accepted.number("acks_per_s") > accepted.per_s


async def test_latency_is_measured_phase_by_phase() -> None:
    phases = [Phase(name="slow", seconds=2, per_s=20), Phase(name="poison", seconds=2, per_s=100, poison_every=100)]

    slow, poison = await latency_of_hub(phases, broker_url=RABBITMQ, probe=200)

    assert (slow.events, poison.events) == (40, 200)
    assert 0 < slow.number("p50_ms") <= slow.number("p99_ms") <= slow.number("max_ms")


async def test_a_run_on_a_slow_disk_says_so_to_its_database_alone() -> None:
    async with database(has_slow_disk=True) as slow, database() as plain:
        async with connected(slow) as connection:
            assert await connection.fetchval("SHOW commit_delay") == "2000"
        async with connected(plain) as connection:
            assert await connection.fetchval("SHOW commit_delay") == "0"


async def test_a_wrong_run_has_no_figure_and_leaves_no_database() -> None:
    before = await databases_of_ours()

    with pytest.raises(ConfigError, match="HUB_PORT"):
        await drain_by_hub("broken", Load(events=10), broker_url=RABBITMQ, how=Hubs(settings={"HUB_PORT": "0x"}))

    assert await databases_of_ours() - before == set()


async def drained(name: str, load: Load, *, database_url: str = "") -> tuple[Load, Figure]:
    """A run that was long enough to be measured: twice as many events wherever the hub had done them unseen.

    The system counts processor time in hundredths of a second, of which a short run may show none.
    """
    while True:
        with suppress(TooShortError):
            figure = await drain_by_hub(name, load, broker_url=RABBITMQ, database_url=database_url)
            if figure.worker_cpu_s > 0:
                return load, figure
        load = replace(load, events=2 * load.events, prefix=f"more-{load.prefix}")


async def databases_of_ours() -> set[str]:
    async with connected(server()) as connection:
        rows = await connection.fetch("SELECT datname FROM pg_database WHERE datname LIKE 'hub_bench_%'")
    return {row["datname"] for row in rows}
