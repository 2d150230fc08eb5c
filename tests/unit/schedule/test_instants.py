"""Instants of schedules: the same for every replica, over daylight saving too, and bounded after a long downtime."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.routing import ScheduleConfig
from hub.schedule.instants import CATCH_UP_MAX, caught_up, due_instants, next_instant

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def schedule(**given_: Any) -> ScheduleConfig:
    return ScheduleConfig.model_validate({"emit": "swept", **given_})


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_an_instant_belongs_to_the_time_after_the_last_one_up_to_now() -> None:
    every_minute = schedule(every="1m")

    assert due_instants(every_minute, after=NOON, until=NOON) == []
    assert due_instants(every_minute, after=NOON, until=NOON + timedelta(seconds=59)) == []
    assert due_instants(every_minute, after=NOON, until=NOON + timedelta(minutes=2)) == [
        NOON + timedelta(minutes=1),
        NOON + timedelta(minutes=2),
    ]


@given(
    start=st.integers(0, 10**6),
    cuts=st.lists(st.integers(1, 4_000), max_size=12),
    rule=st.sampled_from([{"every": "7m"}, {"cron": "*/13 * * * *"}, {"cron": "0 */2 * * *", "zone": "Europe/Berlin"}]),
)
def test_however_often_one_looks_the_instants_are_the_same(start: int, cuts: list[int], rule: dict[str, str]) -> None:
    """Two replicas that look at different times make the same dedupe ids of one schedule."""
    config = schedule(**rule)
    begin = at("2026-10-20T00:00:00") + timedelta(seconds=start)
    last, found = begin, []
    for cut in cuts:
        now = last + timedelta(seconds=cut)
        found += due_instants(config, after=last, until=now)
        last = now

    assert found == due_instants(config, after=begin, until=last)


def test_a_daily_schedule_neither_skips_nor_repeats_a_day_over_daylight_saving() -> None:
    """On 29 March 2026 the clocks of Berlin go from 2 to 3, on 25 October from 3 back to 2."""
    at_half_past_two = schedule(cron="30 2 * * *", zone="Europe/Berlin")

    spring = due_instants(at_half_past_two, after=at("2026-03-27T12:00:00"), until=at("2026-03-31T12:00:00"))
    autumn = due_instants(at_half_past_two, after=at("2026-10-23T12:00:00"), until=at("2026-10-27T12:00:00"))

    assert len(spring) == 4
    assert len({instant.date() for instant in spring}) == 4
    assert autumn == [at("2026-10-24T00:30"), at("2026-10-25T00:30"), at("2026-10-26T01:30"), at("2026-10-27T01:30")]


def test_an_hourly_schedule_has_every_hour_of_a_day_of_25() -> None:
    hourly = schedule(cron="0 * * * *", zone="Europe/Berlin")

    instants = due_instants(hourly, after=at("2026-10-24T21:59:00"), until=at("2026-10-25T23:00:00"))
    assert [later - earlier for earlier, later in pairwise(instants)] == [timedelta(hours=1)] * 25


def test_a_zone_with_its_own_midnight_counts_its_own_days() -> None:
    daily = schedule(cron="0 0 * * *", zone="Asia/Ho_Chi_Minh")

    assert next_instant(daily, NOON) == at("2026-11-21T17:00:00")


@pytest.mark.parametrize("rule", [{"every": "1s"}, {"cron": "* * * * *"}])
def test_after_years_of_downtime_the_newest_instants_are_kept_and_found_quickly(rule: dict[str, str]) -> None:
    config, long_ago = schedule(**rule, catch_up="all"), NOON - timedelta(days=800)

    start = time.thread_time()
    instants = due_instants(config, after=long_ago, until=NOON)

    assert time.thread_time() - start < 1.0, "the loop of the whole hub waits meanwhile"
    assert len(instants) == CATCH_UP_MAX
    assert instants[-1] == NOON
    assert instants == sorted(set(instants))


def test_a_rare_schedule_is_found_after_years_of_downtime_too() -> None:
    yearly = schedule(cron="0 0 1 1 *", catch_up="all")

    assert due_instants(yearly, after=at("2023-06-01"), until=NOON) == [
        at("2024-01-01"), at("2025-01-01"), at("2026-01-01")
    ]  # fmt: skip


def test_catch_up_says_which_of_the_missed_instants_become_events() -> None:
    missed = [NOON - timedelta(minutes=minutes) for minutes in (15, 10, 5)]

    def caught(catch_up: str, now: datetime) -> list[datetime]:
        return caught_up(schedule(every="5m", catch_up=catch_up), missed, now=now, tolerance_s=60)

    assert caught("all", NOON) == missed
    assert caught("last", NOON) == missed[-1:]
    assert caught("none", NOON) == []
    assert caught("none", missed[-1] + timedelta(seconds=60)) == missed[-1:]
