"""Two hubs on one PostgreSQL, and one of them stops, is killed, or comes back too late: nothing happens twice."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import aiohttp
import pytest
from sqlalchemy import text

from hub.store.store import Store
from tests.integration.app.process import HubProcess, hub_process
from tests.integration.app.shop import (
    assert_nothing_lost_or_doubled,
    booked,
    everything_is_done,
    order,
    send,
    send_all,
    shop_environment,
)
from tests.support.misbehaving import STOP
from tests.support.running import until

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

LEASE_S = "2"
WAIT_S = 240.0


async def owners(store: Store, kind: str = "deliver") -> dict[int, int]:
    """How many lanes each living process has, by its number."""
    query = (
        "SELECT w.pid, count(*) AS lanes FROM lanes l JOIN workers w ON w.id = l.worker_id"
        f" WHERE l.kind = '{kind}' AND w.state = 'running' GROUP BY w.pid"
    )
    async with store.reading() as conn:
        return {row.pid: row.lanes for row in await conn.execute(text(query))}


async def shared(store: Store, *hubs: HubProcess) -> None:
    """Wait until these processes have all lanes of both kinds, in equal parts."""
    wanted = {hub.process.pid: 256 // len(hubs) for hub in hubs}

    async def is_so() -> bool:
        return await owners(store) == wanted == await owners(store, "relay")

    await until(is_so, deadline_s=WAIT_S)


async def all_done(store: Store) -> None:
    await until(lambda: everything_is_done(store), deadline_s=WAIT_S)


def orders(phase: str, count: int = 80) -> list[str]:
    return [f"{phase}-{number}" for number in range(count)]


async def test_a_process_that_is_stopped_between_transactions_loses_its_lanes_and_comes_back_as_a_new_worker(
    store: Store, database_url: str, tmp_path: Path
) -> None:
    environ = shop_environment(tmp_path, database_url, HUB_LEASE_S=LEASE_S)
    async with hub_process(environ) as one, hub_process(environ) as other:
        await shared(store, one, other)
        acknowledged = await send_all(one.url, orders("before"))
        await all_done(store)

        one.signal(signal.SIGSTOP)
        acknowledged |= await send_all(other.url, orders("stopped"))
        await shared(store, other)
        await all_done(store)

        one.signal(signal.SIGCONT)
        await one.says("worker_fenced")
        await shared(store, one, other)
        acknowledged |= await send_all(one.url, orders("after"))
        await all_done(store)

    assert len(acknowledged) == 240
    await assert_nothing_lost_or_doubled(store, acknowledged)


async def test_what_a_process_that_is_stopped_inside_a_transaction_did_there_is_refused(
    store: Store, database_url: str, tmp_path: Path
) -> None:
    mark = tmp_path / "stopped"
    environ = shop_environment(tmp_path, database_url, HUB_LEASE_S=LEASE_S)
    async with hub_process(environ) as one, hub_process(environ) as other:
        await shared(store, one, other)
        # Whoever has its lane stops in the handler, its fence and its rows locked.
        await stop_inside(one, mark)
        victim, survivor = (one, other) if int(mark.read_text()) == one.process.pid else (other, one)

        acknowledged = await send_all(survivor.url, orders("stopped"))
        await shared(store, survivor)
        await until(lambda: is_booked(store, "deadly"), deadline_s=WAIT_S)
        await all_done(store)

        victim.signal(signal.SIGCONT)
        await victim.says("worker_fenced")
        await shared(store, one, other)
        acknowledged |= await send_all(victim.url, orders("after"))
        await all_done(store)

    await assert_nothing_lost_or_doubled(store, acknowledged | {"deadly"})


async def stop_inside(one: HubProcess, mark: Path) -> None:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=WAIT_S)) as http:
        sending = asyncio.create_task(send(http, one.url, order("deadly", do=f"{STOP}{mark}")))
        await until(lambda: mark.exists() and bool(mark.read_text()), deadline_s=WAIT_S)
        sending.cancel()
        await asyncio.wait({sending})


async def is_booked(store: Store, id: str) -> bool:
    return id in await booked(store)


async def test_when_one_of_two_is_killed_under_load_the_other_does_the_rest(
    store: Store, database_url: str, tmp_path: Path
) -> None:
    # The lease is long: that the process is gone is seen at once.
    environ = shop_environment(tmp_path, database_url)
    async with hub_process(environ) as one, hub_process(environ) as other:
        await shared(store, one, other)
        sending = asyncio.create_task(send_all(other.url, orders("load", 300)))

        async def some_are_booked() -> bool:
            return len(await booked(store)) >= 40

        await until(some_are_booked, deadline_s=WAIT_S)
        one.signal(signal.SIGKILL)
        await one.ended()

        acknowledged = await sending
        await shared(store, other)
        await all_done(store)

    assert len(acknowledged) == 300
    await assert_nothing_lost_or_doubled(store, acknowledged)


async def test_a_rolling_restart_under_load_loses_and_doubles_nothing(
    store: Store, database_url: str, tmp_path: Path
) -> None:
    environ = shop_environment(tmp_path, database_url)
    async with hub_process(environ) as ingress, hub_process(environ) as old:
        await shared(store, ingress, old)
        sending = asyncio.create_task(send_all(ingress.url, orders("load", 300)))
        async with hub_process(environ) as new:
            await until(lambda: has_lanes(store, new), deadline_s=WAIT_S)
            old.signal(signal.SIGTERM)
            assert await old.ended() == 0
            await shared(store, ingress, new)
            acknowledged = await sending
            await all_done(store)

    assert len(acknowledged) == 300
    await assert_nothing_lost_or_doubled(store, acknowledged)


async def has_lanes(store: Store, hub: HubProcess) -> bool:
    return hub.process.pid in await owners(store)


async def test_several_workers_under_one_supervisor(store: Store, database_url: str, tmp_path: Path) -> None:
    environ = shop_environment(tmp_path, database_url)
    async with hub_process(environ, "--workers", "3", "--log-json") as hub:
        await until(lambda: are_sharing(store, 3), deadline_s=WAIT_S)
        acknowledged = await send_all(hub.url, orders("first"))
        victim = min(await owners(store))

        # One dies: it is started again, under the same address.
        os.kill(victim, signal.SIGKILL)
        await hub.says("worker_process_ended")
        await until(lambda: are_sharing(store, 3, without=victim), deadline_s=WAIT_S)
        acknowledged |= await send_all(hub.url, orders("second"))
        await all_done(store)
        # A scrape meets one of them, and is told of all.
        await until(lambda: tells_of(hub, {"0", "1", "2"}), deadline_s=WAIT_S)

        hub.signal(signal.SIGHUP)
        await until(lambda: hub.said.count("routing_reloaded") == 3, deadline_s=WAIT_S)
        hub.signal(signal.SIGTERM)
        assert await hub.ended() == 0
        assert hub.said.count("listens on") == 1
        assert hub.said.count("hub_stopped") == 3

    assert len(acknowledged) == 160
    await assert_nothing_lost_or_doubled(store, acknowledged)


async def tells_of(hub: HubProcess, numbers: set[str]) -> bool:
    async with aiohttp.ClientSession() as http, http.get(f"{hub.url}/metrics") as answer:
        told = [line for line in (await answer.text()).splitlines() if line.startswith("hub_lanes_owned{")]
    lanes = [float(line.rpartition(" ")[2]) for line in told if 'kind="deliver"' in line]
    return {line.partition('process="')[2].partition('"')[0] for line in told} == numbers and sum(lanes) == 256


async def are_sharing(store: Store, count: int, *, without: int = 0) -> bool:
    owning = await owners(store)
    return len(owning) == count and sum(owning.values()) == 256 and without not in owning


async def test_workers_whose_supervisor_is_killed_stop_in_order(
    store: Store, database_url: str, tmp_path: Path
) -> None:
    async with hub_process(shop_environment(tmp_path, database_url), "--workers", "2") as hub:
        await until(lambda: are_sharing(store, 2), deadline_s=WAIT_S)

        hub.signal(signal.SIGKILL)

        async def are_gone() -> bool:
            return not await owners(store)

        await until(are_gone, deadline_s=WAIT_S)
        async with store.reading() as conn:
            assert set(await conn.scalars(text("SELECT state FROM workers"))) == {"stopped"}
