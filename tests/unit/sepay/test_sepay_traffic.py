"""SePay's way of delivering: its schedule of repeats, and traffic that a seed makes the same again."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

from handlers.sepay.sandbox import Answer
from handlers.sepay.sandbox_traffic import RETRY_WAITS_S, Asked, Traffic, deliver_until_thanked, traffic
from tests.unit.sepay.conftest import ACCOUNT

SCHEDULE: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "data/sepay/retry_schedule.json").read_text(encoding="utf-8")
)
ASKED = [Asked(f"TOPUP17000000{number:02d}ABCD1234", 1_000 + number) for number in range(50)]


def storm(seed: int = 1) -> Traffic:
    at = datetime(2024, 11, 15, tzinfo=UTC)
    return traffic(ASKED, ACCOUNT, first_id=7, booked_at=at, duplicates=0.3, lost=0.1, seed=seed)


def test_the_schedule_is_the_published_one() -> None:
    assert [wait_s / 60 for wait_s in RETRY_WAITS_S] == SCHEDULE["current"]["waits_minutes"]
    assert [0, *(at / 60 for at in accumulate(RETRY_WAITS_S))] == SCHEDULE["cumulative_minutes"]


@pytest.mark.parametrize(
    ("answers", "sent"),
    [
        ([Answer(200, "")], 1),
        ([Answer(204, "")], 1),
        ([Answer(500, ""), None, Answer(301, ""), Answer(201, "")], 4),
        ([None] * 20, SCHEDULE["current"]["deliveries_total"]),
    ],
)
async def test_a_failure_is_repeated_until_it_is_thanked(answers: list[Answer | None], sent: int) -> None:
    given, slept = iter(answers), []

    async def send() -> Answer | None:
        return next(given)

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    found = await deliver_until_thanked(send, speed=60, sleep=sleep)

    assert len(found) == sent
    assert slept == [wait_s / 60 for wait_s in RETRY_WAITS_S[: sent - 1]]


def test_traffic_loses_and_repeats_as_asked_and_a_seed_makes_it_again() -> None:
    one = storm()

    assert (len(one.booked), one.lost, one.repeated, len(one.deliveries)) == (50, 5, 15, 60)
    assert len(set(one.deliveries)) == 45
    assert [json.loads(body)["id"] for body in one.deliveries] != sorted(
        json.loads(body)["id"] for body in one.deliveries
    )
    assert {body["gateway"] for body in one.booked} > {"BIDV", "MBBank"}
    assert storm() == one
    assert storm(seed=2) != one
