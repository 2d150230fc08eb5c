"""The instants of a schedule. They are dedupe ids, so any number of replicas may compute them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

from cronsim import CronSim

from hub.routing import ScheduleConfig

CATCH_UP_MAX = 1_000
"""No more missed instants than this become events; the newest are kept."""
CRON_PERIOD_S_MIN = 60.0
LOOK_GROWTH = 4
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def due_instants(config: ScheduleConfig, *, after: datetime, until: datetime) -> list[datetime]:
    """The instants after ``after`` and up to ``until``, oldest first, in UTC; after a long downtime the newest of them.

    They are looked for from behind, in steps that grow: a schedule of every second has millions after a year.
    """
    every_s = config.every_s if config.every_s is not None else CRON_PERIOD_S_MIN
    look = timedelta(seconds=every_s) * CATCH_UP_MAX
    while True:
        # Written so that a look of centuries does not leave the calendar.
        start = until - look if look < until - after else after
        instants = list(takewhile(lambda instant: instant <= until, _instants(config, start)))
        if start == after or len(instants) >= CATCH_UP_MAX:
            return instants[-CATCH_UP_MAX:]
        look *= LOOK_GROWTH


def caught_up(config: ScheduleConfig, missed: list[datetime], *, now: datetime, tolerance_s: float) -> list[datetime]:
    """Which of the due instants become events after a downtime, by the schedule's ``catch_up``."""
    match config.catch_up:
        case "all":
            return missed
        case "last":
            return missed[-1:]
        case "none":
            return [one for one in missed[-1:] if (now - one).total_seconds() <= tolerance_s]


def next_instant(config: ScheduleConfig, after: datetime) -> datetime | None:
    """The first instant after ``after``; None when there is none."""
    return next(islice(_instants(config, after), 1), None)


def _instants(config: ScheduleConfig, after: datetime) -> Iterator[datetime]:
    if config.cron is not None:
        for instant in CronSim(config.cron, after.astimezone(ZoneInfo(config.zone))):
            yield instant.astimezone(UTC)
        return
    assert config.every_s is not None
    period = timedelta(seconds=config.every_s)
    number = (after - _EPOCH) // period + 1
    while True:
        yield _EPOCH + number * period
        number += 1
