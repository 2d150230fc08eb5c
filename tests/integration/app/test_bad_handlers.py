"""Handlers that do what nobody should: their own delivery is parked, everybody else's goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hub.operate.parked import discard, list_parked
from tests.integration.app.shop import booked, order, send, shop_environment
from tests.support.patience import STILL_S_MAX
from tests.support.running import RunningHub, running, until

ATTEMPTS = 3
SAID = {
    "raise": "RuntimeError: the handler is broken",
    "hang": "did not end",
    "swallow": "did not end",
    "cancel": "CancelledError",
}


@pytest.mark.parametrize("type_", ["shop.order", "shop.call"])
@pytest.mark.parametrize("do", SAID)
async def test_a_handler_that_misbehaves_is_parked_and_hurts_nobody_else(hub: RunningHub, type_: str, do: str) -> None:
    others = [f"other-{number}" for number in range(20)]
    bodies = [order(id, type=type_) for id in others]
    bodies.insert(3, order("bad", key="bad", do=do, type=type_))
    bodies.append(order("behind", key="bad", type=type_))

    for body in bodies:
        assert await send(hub.http, hub.url, body) == 200

    await until(lambda: all_booked(hub, others))
    await until(lambda: one_waits_behind_the_parked(hub))
    [parked] = await list_parked(hub.hub.store)
    assert parked.key == "bad"
    assert SAID[do] in parked.reason
    assert parked.attempts == ATTEMPTS
    assert sorted(await booked(hub.hub.store)) == sorted(others)

    await discard(hub.hub.store, hub.hub.clock, str(parked.event_id), actor="ann", reason="it never ends")

    await until(lambda: all_booked(hub, ["behind"]))


@pytest.mark.parametrize("type_", ["shop.order", "shop.call"])
@pytest.mark.parametrize("do", ["hang", "swallow"])
async def test_a_handler_that_does_not_end_does_not_keep_the_hub_from_stopping(
    tmp_path: Path, type_: str, do: str
) -> None:
    async with asyncio.timeout(None) as stopping, running(shop_environment(tmp_path)) as hub:
        for number in range(5):
            await send(hub.http, hub.url, order(f"bad-{number}", do=do, type=type_))
        stopping.reschedule(asyncio.get_running_loop().time() + STILL_S_MAX)


async def all_booked(hub: RunningHub, ids: list[str]) -> bool:
    return set(ids) <= set(await booked(hub.hub.store))


async def one_waits_behind_the_parked(hub: RunningHub) -> bool:
    return [one.behind for one in await list_parked(hub.hub.store)] == [1]
