"""Two hubs under load while connections, processes and servers break: nothing is lost, nothing doubled, order holds.

``make test`` runs a round or two of each, ``make faults`` as many as docs/guarantees.md tells.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest

from tests.faults.breaking import CALM_S, broken_line
from tests.faults.conftest import IS_EVERYTHING, Telling
from tests.faults.pair import Pair, Place, Replica, pair_at
from tests.faults.selling import Desk, sale_to
from tests.support.broker_node import broker_node
from tests.support.databases import Databases
from tests.support.misbehaving import STOP
from tests.support.postgres_cluster import postgres_cluster
from tests.support.rabbit import rabbit_address, raw_channel

STORM_S_MAX = 3_600 if IS_EVERYTHING else 1_800
STOPPED_S = {False: 7.0, True: 60.0}
"""How long a process stands still: longer than its lease, and in the long run as long as a machine that hangs."""
LEASE_S = {False: 5.0, True: 15.0}
HEARTBEAT_S = {False: 2, True: 15}
STALL_S = {False: 1.0, True: 8.0}
"""The longest silence of a line: in the long run longer than ``SHORT_LEASE_S``."""
SHORT_LEASE_S = 6.0

DEEDS = {
    "restart the broker": 20,
    "kill the broker": 5,
    "hang up on all": 10,
    "delete the queue": 5,
    "restart the database": 5,
    "crash the database": 5,
}
SAMPLE = {"restart the broker": 1, "delete the queue": 1, "crash the database": 1}

pytestmark = pytest.mark.timeout(STORM_S_MAX)


@pytest.fixture
def counts(tell: Telling, request: pytest.FixtureRequest) -> Iterator[Counter[str]]:
    """Counts for the table, under the name of the storm."""
    counts: Counter[str] = Counter()
    yield counts
    tell(request.node.originalname.removeprefix("test_").partition("_")[0], "postgresql", counts)


@asynccontextmanager
async def shared_place(
    databases: Databases, folder: Path, counts: Counter[str], **settings: float
) -> AsyncIterator[Pair]:
    """A pair on the servers that all tests share; in the end it is judged."""
    database = await databases.fresh("postgresql")
    try:
        place = Place(database, await rabbit_address(), **settings)  # type: ignore[arg-type]
        async with pair_at(place, folder) as pair:
            await pair.flows()
            yield pair
            await judged(pair, counts)
    finally:
        await databases.drop(database)


async def judged(pair: Pair, counts: Counter[str]) -> None:
    await pair.flows()
    found = await pair.finish()
    counts.update(events=pair.events, violations=len(found))
    assert not found, "\n".join(found)


async def test_cuts_silences_and_half_closed_lines_lose_and_double_nothing(
    databases: Databases, tmp_path: Path, chance: Random, is_everything: bool, counts: Counter[str]
) -> None:
    settings = {"lease_s": SHORT_LEASE_S} if is_everything else {}
    async with shared_place(databases, tmp_path, counts, **settings) as pair:
        for number in range(200 if is_everything else 10):
            await broken_line(pair.replicas, chance, STALL_S[is_everything])
            counts["cuts"] += 1
            if number % 20 == 19:
                await pair.flows()


async def test_kills_of_one_of_two_under_load_lose_and_double_nothing(
    databases: Databases, tmp_path: Path, chance: Random, is_everything: bool, counts: Counter[str]
) -> None:
    async with shared_place(databases, tmp_path, counts) as pair:
        for _ in range(50 if is_everything else 2):
            victim = chance.choice(pair.replicas)
            await asyncio.sleep(chance.uniform(0, CALM_S))
            await victim.kill()
            counts["killed"] += 1
            await pair.flows()
            await victim.start()


async def test_rolling_restarts_under_load_lose_and_double_nothing(
    databases: Databases, tmp_path: Path, chance: Random, is_everything: bool, counts: Counter[str]
) -> None:
    if not is_everything and os.environ.get("HUB_TEST_LONG") != "1":
        pytest.skip("long; HUB_TEST_LONG=1 runs a few of them, make faults all")
    async with shared_place(databases, tmp_path, counts) as pair:
        for lap in range(25 if is_everything else 2):
            # As a deployment does it: one after the other, each when the one before it works again.
            for replica in pair.replicas:
                await asyncio.sleep(chance.uniform(0, CALM_S))
                await replica.stop_in_order()
                counts["restarts"] += 1
                if chance.random() < 0.5:
                    # The other one has all the lanes, and goes on alone.
                    await pair.flows()
                await replica.start()
            if lap % 5 == 0:
                await owned_by_all(pair)
                await pair.flows()


async def test_stops_of_a_process_inside_a_transaction_and_between_two_have_no_double_effect(
    databases: Databases, tmp_path: Path, chance: Random, is_everything: bool, counts: Counter[str]
) -> None:
    settings = {"lease_s": LEASE_S[is_everything], "heartbeat_s": HEARTBEAT_S[is_everything]}
    async with shared_place(databases, tmp_path, counts, **settings) as pair:
        for where in ("inside", "between"):
            victim = await (stopped_inside(pair, tmp_path) if where == "inside" else stopped_between(pair, chance))
            stood_still = asyncio.create_task(asyncio.sleep(STOPPED_S[is_everything]))
            # The other one has everything before the stopped one comes back.
            await pair.flows()
            await owned_by_all_but(pair, victim)
            await stood_still
            victim.resume()
            counts["stops"] += 1
            await owned_by_all(pair)
            await pair.flows()


async def stopped_inside(pair: Pair, folder: Path) -> Replica:
    """Whoever handles a certain sale stops in the middle of it, its fence and the customer's account locked."""
    mark = folder / "stopped"
    desk, sale = Desk(pair.place.broker, pair.names), sale_to("s1", 0, do=f"{STOP}{mark}")
    while not await desk.send(sale):  # noqa: ASYNC110 - it is at a broker
        await asyncio.sleep(CALM_S)
    await desk.close()
    pair.selling.accepted.append(sale)

    async def is_stopped() -> bool:
        return mark.exists() and bool(mark.read_text())

    await pair.until(is_stopped, "a process to stop", moves=pair.left)
    return next(one for one in pair.replicas if one.pid == int(mark.read_text()))


async def stopped_between(pair: Pair, chance: Random) -> Replica:
    """Stop one of two that have nothing in hand."""
    await pair.quiet()
    victim = chance.choice(pair.replicas)
    victim.pause()
    pair.selling.go_on()
    return victim


async def owned_by_all_but(pair: Pair, victim: Replica) -> None:
    await owned_by(pair, {one.pid for one in pair.replicas} - {victim.pid})


async def owned_by_all(pair: Pair) -> None:
    await owned_by(pair, {one.pid for one in pair.replicas})


async def owned_by(pair: Pair, pids: set[int]) -> None:
    """Wait until all lanes belong to these processes, and each has some."""

    async def owned() -> dict[int, int]:
        rows = await pair.rows(
            "SELECT w.pid, count(*) FROM lanes l JOIN workers w ON w.id = l.worker_id"
            " WHERE w.state = 'running' GROUP BY w.pid"
        )
        return {int(pid): int(lanes) for pid, lanes in rows}

    async def is_so() -> bool:
        lanes = await owned()
        return set(lanes) == pids and sum(lanes.values()) == 512

    await pair.until(is_so, f"all lanes to belong to {pids}", moves=owned)


async def test_restarts_of_both_servers_under_load_lose_and_double_nothing(
    tmp_path: Path, chance: Random, is_everything: bool, counts: Counter[str]
) -> None:
    if not is_everything and os.environ.get("HUB_TEST_LONG") != "1":
        pytest.skip("long; HUB_TEST_LONG=1 runs a few of them, make faults all")
    deeds = DEEDS if is_everything else SAMPLE
    everything = [deed for deed, times in deeds.items() for _ in range(times)]
    chance.shuffle(everything)
    async with broker_node() as node, postgres_cluster() as cluster:
        place = Place(await cluster.new_database(), node.url)
        async with pair_at(place, tmp_path) as pair:
            for deed in everything:
                await pair.flows()
                match deed:
                    case "restart the broker":
                        await node.restart()
                    case "kill the broker":
                        await node.crash()
                    case "hang up on all":
                        await node.close_all_connections()
                    case "delete the queue":
                        await delete_the_queue(pair)
                    case "restart the database":
                        await cluster.stop("fast")
                        await cluster.start()
                    case _:
                        await cluster.stop("immediate")
                        await cluster.start()
                counts["restarts"] += 1
            await judged(pair, counts)


async def delete_the_queue(pair: Pair) -> None:
    """An operator's mistake, once nothing lies in it: what was in it would be gone."""
    await pair.quiet()
    async with raw_channel(pair.place.broker) as channel:
        await channel.queue_delete(pair.names.sales)
    pair.selling.go_on()
