"""When a running hub renews itself."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from socket import socket
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from hub.cli import run
from hub.cli.refresh import Refresh, next_refresh
from hub.errors import ConfigError, StoreUnavailableError
from hub.plan import Plan
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


PLANS = tuple(cast(Plan, name) for name in ("the first", "the second", "the third"))


class Lives:
    """Each goes by the next of some plans, unless what is told of it is an error; the last one is told to stop."""

    def __init__(self, *told: Exception | None) -> None:
        self.stopping = asyncio.Event()
        self.begun: list[tuple[Plan, bool]] = []
        self._told = told

    async def __call__(self, listening: socket | None, plan: Plan, is_first: bool) -> run.Ending:
        self.begun.append((plan, is_first))
        told = self._told[len(self.begun) - 1]
        if told is not None:
            raise told
        if len(self.begun) == len(self._told):
            self.stopping.set()
        return run.Ending(0, listening, plan, PLANS[min(PLANS.index(plan) + 1, len(PLANS) - 1)])

    async def code(self, clock: SettableClock) -> int:
        return await run._lives(self, self.stopping, Refresh(settings(), clock), None, PLANS[0])


async def test_a_database_that_goes_away_in_the_middle_of_a_refresh_is_waited_for(
    clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "AGAIN_S", 0.0)
    first, second, third = PLANS
    by_now = {second: third}
    monkeypatch.setattr(run, "_plan_by_now", by_now.__getitem__)
    lives = Lives(None, StoreUnavailableError("gone", delay_s=1.0), None)

    assert await lives.code(clock) == 0

    # Its address, or the password, may have been put right meanwhile.
    assert lives.begun == [(first, True), (second, False), (third, False)]


async def test_what_was_found_good_and_does_not_start_gives_way_to_what_the_hub_had(
    clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "AGAIN_S", 0.0)
    first, second, third = PLANS
    monkeypatch.setattr(run, "_plan_by_now", {first: third}.__getitem__)
    lives = Lives(None, ConfigError("a mistake"), ConfigError("and another"), None)

    with capture_logs() as logs:
        assert await lives.code(clock) == 0

    assert lives.begun == [(first, True), (second, False), (first, False), (third, False)]
    assert [(one["event"], one["problem"]) for one in logs if one["event"] == "refresh_failed"] == [
        ("refresh_failed", "a mistake"),
        ("refresh_failed", "and another"),
    ]
    assert REGISTRY.get_sample_value("hub_rules_refused") == 1


def test_where_a_mistake_is_in_the_files_the_plan_is_what_it_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HUB_ROUTING", str(tmp_path / "none.yaml"))

    assert run._plan_by_now(PLANS[1]) == PLANS[1]


@pytest.mark.parametrize("error", [StoreUnavailableError("away", delay_s=1.0), ConfigError("a mistake")])
async def test_what_is_wrong_at_the_start_ends_it(clock: SettableClock, error: Exception) -> None:
    with pytest.raises(type(error)):
        await Lives(error).code(clock)
