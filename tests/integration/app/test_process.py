"""The daemon as a process: killed, stopped, signalled, started twice, started wrongly."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.store.store import Store
from tests.integration.app.process import HubProcess, hub_process, start
from tests.integration.app.shop import (
    assert_nothing_lost_or_doubled,
    booked,
    everything_is_done,
    outbox_states,
    send_all,
    shop_environment,
    states,
)
from tests.support.misbehaving import ROUTING
from tests.support.printed import forking
from tests.support.running import PROJECT, until

ORDERS = [f"order-{number}" for number in range(400)]


@pytest.fixture(scope="module")
def forked() -> Iterator[list[str]]:
    """Runs a hub that is refused: it has not begun anything that tells a fork from a program."""
    with forking(PROJECT, {"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT)}) as words:
        yield words


async def test_a_killed_process_loses_and_doubles_nothing(store: Store, database_url: str, tmp_path: Path) -> None:
    environ = shop_environment(tmp_path, database_url)
    async with hub_process(environ) as hub:
        sending = asyncio.create_task(send_all(hub.url, ORDERS))
        await until(lambda: some_are_booked(store, 40))
        hub.signal(signal.SIGKILL)
        await hub.ended()
        acknowledged = await sending
    assert 0 < len(acknowledged) < len(ORDERS)

    async with hub_process(environ) as hub:
        # The sender comes again with whatever was not acknowledged, and with some of the rest.
        again = await send_all(hub.url, [id for id in ORDERS if id not in acknowledged or id.endswith("7")])
        await all_done(store, hub)

    await assert_nothing_lost_or_doubled(store, acknowledged | again)
    assert sorted(await booked(store)) == sorted(ORDERS)


async def test_a_stop_under_load_ends_in_time_and_leaves_nothing_in_doubt(
    store: Store, database_url: str, tmp_path: Path
) -> None:
    environ = shop_environment(tmp_path, database_url, HUB_STOP_DEADLINE_S="60")
    async with hub_process(environ) as hub:
        sending = asyncio.create_task(send_all(hub.url, ORDERS))
        await until(lambda: some_are_booked(store, 40))
        hub.signal(signal.SIGTERM)
        assert await hub.ended() == 0
        acknowledged = await sending
        assert "hub_stopped" in hub.said

    async with hub_process(environ) as hub:
        await hub.says('"suspects": 0')
        await all_done(store, hub)

    await assert_nothing_lost_or_doubled(store, acknowledged)


async def test_what_was_taken_before_a_kill_is_found_careful_and_done(
    store: Store, database_url: str, tmp_path: Path
) -> None:
    environ = shop_environment(tmp_path, database_url)
    async with hub_process(environ, "--role", "ingress") as hub:
        assert len(await send_all(hub.url, ORDERS[:20])) == 20
        hub.signal(signal.SIGKILL)
        await hub.ended()
    assert await states(store) == {"ready": 40}

    async with hub_process(environ) as hub:
        await all_done(store, hub)

    assert sorted(await booked(store)) == sorted(ORDERS[:20])


async def test_a_hangup_reloads_the_rules_and_a_bad_file_changes_nothing(tmp_path: Path) -> None:
    environ = shop_environment(tmp_path)
    file = tmp_path / "routing.yaml"
    async with hub_process(environ) as hub:
        file.write_text(ROUTING.replace("handle: misbehaving.book", "handle: misbehaving.bok"))
        hub.signal(signal.SIGHUP)
        await hub.says("routing_not_reloaded")
        assert "misbehaving.book" in hub.said  # the nearest known name
        assert len(await send_all(hub.url, ORDERS[:3])) == 3

        file.write_text(ROUTING.replace("/webhooks/shop", "/webhooks/store"))
        hub.signal(signal.SIGHUP)
        await hub.says("routing_reloaded")
        assert await send_all(hub.url, ORDERS[3:6]) == set()

        hub.signal(signal.SIGTERM)
        assert await hub.ended() == 0


async def test_a_second_daemon_on_the_same_home_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    environ = shop_environment(tmp_path)
    async with hub_process(environ) as first:
        # The second one brings other rules: it must not have touched anything of the first's when it is refused.
        (tmp_path / "routing.yaml").write_text(ROUTING.replace("queue: shop.copies", "queue: shop.others"))
        second = await start(environ)

        assert await second.ended() == 2
        assert f"HUB_HOME: hub run (process {first.process.pid}" in second.said
        assert "set another HUB_HOME and HUB_PORT" in second.said
        assert len(await send_all(first.url, ORDERS[:5])) == 5
        store = Store.open(f"sqlite+aiosqlite:///{tmp_path}/hub.db")
        try:
            await all_done(store, first)
            await assert_nothing_lost_or_doubled(store, set(ORDERS[:5]))
        finally:
            await store.close()


async def test_a_home_that_cannot_be_written_is_named(tmp_path: Path, forked: list[str]) -> None:
    (tmp_path / "file").touch()

    hub = await start(shop_environment(tmp_path) | {"HUB_HOME": str(tmp_path / "file" / "home")}, by=forked)

    assert await hub.ended() == 2
    assert "HUB_HOME: expected a folder to write to" in hub.said
    assert "Traceback" not in hub.said


async def test_a_port_in_use_is_named(tmp_path: Path, forked: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        hub = await start(shop_environment(tmp_path, HUB_PORT=str(port)), by=forked)

        assert await hub.ended() == 2
    assert f"port {port} on 127.0.0.1 is in use by another program" in hub.said
    assert "Traceback" not in hub.said


@pytest.mark.parametrize(
    ("routing", "said"),
    [
        (ROUTING.replace("version: 1", "version: [1"), "routing.yaml:2:"),
        (ROUTING.replace("    match: shop.call", "    macth: shop.call"), "routing.yaml:22:5: "),
        (ROUTING.replace("publish: copies", "publish: copie"), "routing.yaml:20:14: "),
        (ROUTING.replace("misbehaving.call\n", "misbehaving.cal\n"), "misbehaving.call"),
        (ROUTING.replace("[tests.support.misbehaving]", "[tests.support.nothing]"), "there is no package"),
        (ROUTING.replace("SHOP_WEBHOOK_KEY", "SHOP_WEBHOOK_PASS"), "SHOP_WEBHOOK_PASS"),
        (ROUTING.replace("version: 1", "version: 2"), "routing.yaml:1:10: "),
        ("\t", "routing.yaml:1:1"),
        ("", "routing.yaml"),
    ],
    ids=["broken", "unknown field", "destination", "handler", "package", "environment", "version", "tab", "empty"],
)
async def test_a_mistake_in_the_rules_is_told_with_its_place_before_anything_starts(
    tmp_path: Path, routing: str, said: str, forked: list[str]
) -> None:
    hub = await start(shop_environment(tmp_path, routing=routing), by=forked)

    assert await hub.ended() == 2
    assert said in hub.said
    assert "Traceback" not in hub.said
    assert not (tmp_path / "hub.db").exists()


async def test_a_missing_file_of_rules_is_named(tmp_path: Path, forked: list[str]) -> None:
    hub = await start(shop_environment(tmp_path) | {"HUB_ROUTING": str(tmp_path / "nowhere.yaml")}, by=forked)

    assert await hub.ended() == 2
    assert "nowhere.yaml" in hub.said
    assert "Traceback" not in hub.said


async def test_every_wrong_setting_is_named_at_once(tmp_path: Path, forked: list[str]) -> None:
    hub = await start(shop_environment(tmp_path, HUB_PORT="eighty", HUB_BATCH_SIZE="0"), by=forked)

    assert await hub.ended() == 2
    assert "HUB_PORT" in hub.said
    assert "HUB_BATCH_SIZE" in hub.said
    assert "Traceback" not in hub.said


async def all_done(store: Store, hub: HubProcess) -> None:
    async def is_done() -> bool:
        assert hub.process.returncode is None, hub.said[-5_000:]
        return await everything_is_done(store)

    try:
        await until(is_done, moves=lambda: states(store))
    except TimeoutError:
        found = f"not all is done: {await states(store)}, {await outbox_states(store)}"
        raise AssertionError(f"{found}\n{hub.said[-5_000:]}") from None


async def some_are_booked(store: Store, count: int) -> bool:
    return len(await booked(store)) >= count
