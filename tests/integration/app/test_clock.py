"""A clock that jumps: what is in hand may wait for the clock to come back, and nothing is lost or doubled."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hub.event import LANES
from hub.operate.parked import list_parked
from hub.store import tables as t
from tests.integration.app.shop import (
    assert_nothing_lost_or_doubled,
    booked,
    copied,
    everything_is_done,
    order,
    send,
    shop_environment,
)
from tests.support.clock import START, SettableClock
from tests.support.misbehaving import ROUTING
from tests.support.running import RunningHub, running, until

DAY_S = 86_400.0
SCHEDULED = ROUTING.replace("match: shop.order\n    publish", "match: shop.reminder\n    publish")
SCHEDULED += "schedules:\n  remind: { every: 1h, emit: shop.reminder }\n"


@pytest.fixture
async def hub(database_url: str, tmp_path: Path, clock: SettableClock) -> AsyncIterator[RunningHub]:
    async with running(shop_environment(tmp_path, database_url), clock=clock) as hub:
        yield hub
        assert not hub.hub.failed.is_set()


async def test_a_clock_that_goes_back_a_day_loses_and_reorders_nothing(hub: RunningHub, clock: SettableClock) -> None:
    ids = [f"order-{number}" for number in range(30)]
    for number, id in enumerate(ids):
        if number == 10:
            clock.advance(-DAY_S)
        if number == 20:
            clock.advance(2 * DAY_S)
        assert await send(hub.http, hub.url, order(id, key="one customer")) == 200

    await all_done(hub)
    assert await booked(hub.hub.store) == ids
    assert await copied(hub.hub.store) == ids
    await assert_nothing_lost_or_doubled(hub.hub.store, set(ids))


async def test_what_backs_off_while_the_clock_goes_back_is_tried_again_when_it_is_right_again(
    hub: RunningHub, clock: SettableClock
) -> None:
    assert await send(hub.http, hub.url, order("bad", key="k", do="raise")) == 200
    assert await send(hub.http, hub.url, order("behind", key="k")) == 200
    await until(lambda: has_failed_once(hub))
    clock.set(START)
    clock.advance(-3_600)
    assert await send(hub.http, hub.url, order("other")) == 200
    await until(lambda: is_booked(hub, "other"))

    clock.advance(3_600)

    async def is_parked() -> bool:
        clock.advance(1)
        hub.hub.to_deliver.add(range(LANES))
        return len(await list_parked(hub.hub.store)) == 1

    await until(is_parked)


async def test_a_schedule_fires_each_instant_once_however_the_clock_jumps(
    database_url: str, tmp_path: Path, clock: SettableClock
) -> None:
    async with running(shop_environment(tmp_path, database_url, SCHEDULED), clock=clock) as hub:
        await until(lambda: is_remembered(hub))
        for jump in (3_600, -7_200, 3_600, 3_600, 3_600):
            clock.advance(jump)
            await until(lambda: has_looked(hub, clock))

        instants = [row.dedupe_id for row in await hub.rows(t.inbox)]
        # From 9:30 on; ten o'clock came twice.
        assert instants == ["2026-11-21T10:00:00+00:00", "2026-11-21T11:00:00+00:00"]


async def all_done(hub: RunningHub) -> None:
    async def is_done() -> bool:
        hub.hub.to_deliver.add(range(LANES))
        return await everything_is_done(hub.hub.store)

    await until(is_done)


async def is_booked(hub: RunningHub, id: str) -> bool:
    return id in await booked(hub.hub.store)


async def has_failed_once(hub: RunningHub) -> bool:
    return len(await hub.rows(t.attempts)) >= 1


async def is_remembered(hub: RunningHub) -> bool:
    return len(await hub.rows(t.schedules)) == 1


async def has_looked(hub: RunningHub, clock: SettableClock) -> bool:
    [schedule] = await hub.rows(t.schedules)
    return bool((clock.now() - schedule.last_at).total_seconds() < 3_600)
