"""When a running hub renews itself."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from socket import socket
from typing import Any

import pytest

from hub.cli import run
from hub.cli.refresh import Refresh, next_refresh
from hub.errors import ConfigError, StoreUnavailableError
from hub.settings import Settings, load_settings
from tests.support.clock import SettableClock


def settings(**more: Any) -> Settings:
    return Settings.model_validate({"refresh": "0 0 * * *", "refresh_zone": "Asia/Tokyo", **more})


def test_midnight_in_japan_is_in_the_afternoon_of_the_day_before() -> None:
    at = [next_refresh(settings(), datetime(2026, 11, 21, hour, 59, 59, tzinfo=UTC)) for hour in (14, 15)]

    assert at == [datetime(2026, 11, 21, 15, tzinfo=UTC), datetime(2026, 11, 22, 15, tzinfo=UTC)]


def test_without_a_setting_there_is_none() -> None:
    assert next_refresh(Settings(), datetime(2026, 11, 21, tzinfo=UTC)) is None


@pytest.mark.parametrize("text", ["midnight", "0 0 * *", "0 0 * * * *", "99 0 * * *"])
def test_what_is_no_schedule_is_refused_at_the_start(text: str) -> None:
    with pytest.raises(ConfigError, match="HUB_REFRESH"):
        load_settings({"HUB_REFRESH": text})


def test_what_is_no_time_zone_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigError, match="HUB_REFRESH_ZONE"):
        load_settings({"HUB_REFRESH_ZONE": "Tokyo/Asia"})


async def test_it_waits_for_its_instant_and_then_for_the_next(clock: SettableClock) -> None:
    clock.set(datetime(2026, 11, 21, 14, 59, 59, 999_000, tzinfo=UTC))
    refresh = Refresh(settings(), clock)
    waiting = asyncio.create_task(refresh.wait())
    await asyncio.sleep(0)
    assert not waiting.done()

    clock.advance(0.01)
    await asyncio.wait_for(waiting, 60)
    assert refresh.due.is_set()

    refresh.again()
    again = asyncio.create_task(refresh.wait())
    await asyncio.sleep(0)
    assert not again.done()
    again.cancel()


@pytest.mark.parametrize("cron", ["", "0 0 * * *"])
async def test_told_so_it_is_due_at_once(cron: str, clock: SettableClock) -> None:
    refresh = Refresh(settings(refresh=cron), clock)
    waiting = asyncio.create_task(refresh.wait())
    await asyncio.sleep(0)

    refresh.now()

    await asyncio.wait_for(waiting, 60)


async def test_a_database_that_goes_away_in_the_middle_of_a_refresh_is_waited_for(
    clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "AGAIN_S", 0.0)
    stopping, firsts = asyncio.Event(), list[bool]()

    async def live(listening: socket | None, is_first: bool) -> tuple[int, socket | None]:
        firsts.append(is_first)
        if len(firsts) == 2:
            raise StoreUnavailableError("gone", delay_s=1.0)
        if len(firsts) == 3:
            stopping.set()
        return 0, listening

    code = await run._lives(live, stopping, Refresh(settings(), clock), None)

    assert (code, firsts) == (0, [True, False, False])


async def test_a_database_that_is_away_at_the_start_ends_it(clock: SettableClock) -> None:
    async def live(listening: socket | None, is_first: bool) -> tuple[int, socket | None]:
        raise StoreUnavailableError("away", delay_s=1.0)

    with pytest.raises(StoreUnavailableError):
        await run._lives(live, asyncio.Event(), Refresh(settings(), clock), None)
