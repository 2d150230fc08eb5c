"""The daemon renews itself in the midst of its work: nothing is lost, nothing done twice, the port stays open."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from prometheus_client import REGISTRY

from hub.app import Hub
from hub.cli.run import _next_plan
from hub.store.store import Store
from tests.integration.app.process import HubProcess, hub_process
from tests.integration.app.shop import (
    assert_nothing_lost_or_doubled,
    booked,
    everything_is_done,
    send_all,
    shop_environment,
)
from tests.support.running import running, until

ORDERS = [f"order-{number}" for number in range(200)]


async def test_a_refresh_under_load_loses_and_doubles_nothing_and_a_stop_goes_the_same_way(
    store: Store, database_url: str, tmp_path: Path
) -> None:
    environ = shop_environment(tmp_path, database_url, HUB_REFRESH="0 0 1 1 *")
    async with hub_process(environ) as hub:
        url = hub.url
        sending = asyncio.create_task(send_all(url, ORDERS))
        await until(lambda: some_are_booked(store, 20))

        hub.signal(signal.SIGUSR1)
        await hub.says("hub_refreshed")
        acknowledged = await sending
        # Whoever was cut off in the middle comes again, as senders do; the port has never been closed.
        acknowledged |= await send_all(url, [id for id in ORDERS if id not in acknowledged])
        await until(lambda: everything_is_done(store))
        assert hub.said.count("listens on") == 1

        hub.signal(signal.SIGUSR1)
        await until(lambda: has_refreshed_twice(hub))
        # With a mistake in a file it could not start again, and goes on as it is.
        shop_environment(tmp_path, routing="version: none\n")
        hub.signal(signal.SIGUSR1)
        await hub.says("refresh_refused")
        hub.signal(signal.SIGTERM)
        assert await hub.ended() == 0
        assert "hub_stopped" in hub.said

    assert acknowledged == set(ORDERS)
    await assert_nothing_lost_or_doubled(store, acknowledged)
    assert sorted(await booked(store)) == sorted(ORDERS)


async def test_a_refresh_comes_up_by_what_it_has_looked_at_whatever_becomes_of_the_file(tmp_path: Path) -> None:
    environ = shop_environment(tmp_path)
    async with running(environ) as life:
        plan = await _next_plan(life.hub, environ)
        assert REGISTRY.get_sample_value("hub_rules_refused") == 0
        shop_environment(tmp_path, routing="version: none\n")
        assert await _next_plan(life.hub, environ) is None
        assert REGISTRY.get_sample_value("hub_rules_refused") == 1

    assert plan is not None
    hub = await Hub.open(environ, plan=plan)
    try:
        assert hub.wiring.config.routes == plan.wiring.config.routes
        assert hub.wiring.config.routes
    finally:
        await hub.stop()


async def some_are_booked(store: Store, count: int) -> bool:
    return len(await booked(store)) >= count


async def has_refreshed_twice(hub: HubProcess) -> bool:
    return hub.said.count("hub_refreshed") == 2
