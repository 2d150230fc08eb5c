"""The schedule: each instant is taken by one replica, and what fails is told and tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection
from structlog.testing import capture_logs

from hub.errors import ConfigError
from hub.retention.loop import Pruning
from hub.retention.record import EventRecord
from hub.retention.settings import RetentionSettings
from hub.retention.witness import NoWitness
from hub.seal.members import DamagedError
from hub.settings import read_settings
from hub.store.tables_archive import archived
from tests.integration.operate.desk import Desk
from tests.integration.retention.archivist import Archivist
from tests.support.patience import until

HOUR_S = 3_600.0
FAILURES = "hub_prune_failed_total"


def settings_of(folder: Path) -> RetentionSettings:
    environ = {"HUB_HOME": str(folder), "HUB_RETENTION_DAYS": "90", "HUB_ARCHIVE_STORE": str(folder / "archive")}
    return read_settings(RetentionSettings, environ)


async def test_of_two_replicas_one_prunes_at_each_instant(archivist: Archivist, desk: Desk, tmp_path: Path) -> None:
    event = await archivist.finished(1)
    archivist.grow_old()
    stopping = asyncio.Event()
    replicas = [Pruning(desk.store, desk.clock, settings_of(tmp_path)) for _ in range(2)]
    taken = [await one._take_instant() for one in replicas]
    desk.clock.advance(2 * HOUR_S)

    with capture_logs() as logs:
        loops = [asyncio.create_task(one.run(stopping, look_s=0.02)) for one in replicas]

        async def is_pruned() -> bool:
            return [row.event_id for row in await desk.rows(archived)] == [event] and bool(_lines(logs))

        await until(is_pruned, "the event to be archived")
        stopping.set()
        await asyncio.gather(*loops)

    assert taken == [False, False], "the first look only notes where to begin"
    assert len(_lines(logs)) == 1
    assert await replicas[0]._take_instant() is False


def _lines(logs: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    return [line for line in logs if line["event"] == "events_pruned"]


async def test_a_storage_that_fails_is_told_and_asked_again_at_the_next_instant(
    archivist: Archivist, desk: Desk, tmp_path: Path
) -> None:
    await archivist.finished(1)
    archivist.grow_old()
    (tmp_path / "archive").write_text("no folder")
    pruning = Pruning(desk.store, desk.clock, settings_of(tmp_path))
    await pruning._take_instant()
    stopping = asyncio.Event()

    with capture_logs() as logs:
        desk.clock.advance(HOUR_S)
        loop = asyncio.create_task(pruning.run(stopping, look_s=0.02))
        await until(lambda: _said(logs, "prune_failed"), "a failure to be told")
        (tmp_path / "archive").unlink()
        desk.clock.advance(HOUR_S)
        await until(lambda: _said(logs, "events_pruned"), "the event to be archived")
        stopping.set()
        await loop

    assert (await archivist.check()).violations == ()


async def _said(logs: Sequence[Mapping[str, Any]], event: str) -> bool:
    return any(line["event"] == event for line in logs)


class Surprised(NoWitness):
    """Meets what nobody expects, once each: damage, the database's refusal, a value that cannot be."""

    def __init__(self) -> None:
        self.errors: list[Exception] = [
            DamagedError("the last member is cut off"),
            IntegrityError("INSERT", {}, ValueError("refused")),
            ValueError("no time"),
        ]

    async def may_prune(self, conn: AsyncConnection, records: Sequence[EventRecord]) -> Sequence[EventRecord]:
        if self.errors:
            raise self.errors.pop(0)
        return records


async def test_what_nobody_expects_while_pruning_is_told_and_the_hub_goes_on(
    archivist: Archivist, desk: Desk, tmp_path: Path
) -> None:
    event = await archivist.finished(1)
    archivist.grow_old()
    pruning = Pruning(desk.store, desk.clock, settings_of(tmp_path), witness=Surprised())
    await pruning._take_instant()
    stopping = asyncio.Event()
    failed = REGISTRY.get_sample_value(FAILURES) or 0

    with capture_logs() as logs:
        loop = asyncio.create_task(pruning.run(stopping, look_s=0.01))
        for number in (1, 2, 3):
            desk.clock.advance(HOUR_S)
            await until(lambda number=number: _told(logs, number), "a failure to be told")  # type: ignore[misc]
        desk.clock.advance(HOUR_S)
        await until(lambda: _said(logs, "events_pruned"), "the event to be archived")
        stopping.set()
        await loop

    assert REGISTRY.get_sample_value(FAILURES) == failed + 3
    assert await archivist.archived() == [event]


async def _told(logs: Sequence[Mapping[str, Any]], times: int) -> bool:
    return [line["event"] for line in logs].count("prune_failed") == times


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("HUB_RETENTION_DAYS", "0", "HUB_RETENTION_DAYS"),
        ("HUB_PRUNE_SCHEDULE", "hourly", "expected five fields of cron"),
        ("HUB_ARCHIVE_STORE", "gs://bucket", "HUB_ARCHIVE_STORE"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(variable: str, value: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_settings(RetentionSettings, {variable: value})


def test_the_page_names_every_setting_of_retention() -> None:
    page = (Path(__file__).parents[3] / "docs/retention.md").read_text()
    names = [f"HUB_{name.upper()}" for name in RetentionSettings.model_fields if name != "home"]

    assert [name for name in names if f"| `{name}` |" not in page] == []
