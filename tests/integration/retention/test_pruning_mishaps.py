"""Crashes while events are archived, what is lost from the archive, and runs that end early."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.errors import PermanentError
from hub.event import uuid7
from hub.retention import pruning
from hub.retention.record import EventRecord, delete_rows
from hub.retention.witness import NoWitness
from hub.storage import ObjectLostError, Storage, StorageError, StoragePlace
from hub.store import tables as t
from hub.store.tables_archive import archive_objects, archived
from tests.integration.operate.desk import Desk
from tests.integration.retention.archivist import AGE, Archivist


class FaultyStorage(Storage):
    """Fails at one of its deeds."""

    def __init__(self, folder: Path, deed: str) -> None:
        super().__init__(StoragePlace(place=str(folder)))
        self.deed = deed

    async def put(self, name: str, content: bytes) -> None:
        if self.deed == "put":
            raise StorageError("away")
        await super().put(name, content if self.deed != "spoilt" else content[:-1])
        if self.deed == "put and gone":
            raise StorageError("away")

    async def get(self, name: str) -> bytes:
        if self.deed == "get":
            raise StorageError("away")
        return await super().get(name)


class FailsAt(NoWitness):
    """Fails in a transaction that has deleted everything and is not committed yet: the first, or the second."""

    def __init__(self, turn: int) -> None:
        self.left = turn

    async def pruned(self, conn: AsyncConnection, records: Sequence[EventRecord]) -> None:
        self.left -= 1
        if self.left == 0:
            raise StorageError("a crash before the commit")


STEPS = {"put": 0, "put and gone": 0, "get": 0, "spoilt": 0, "commit": 1, "second commit": 2}
"""Where it crashes, and in which transaction."""


async def test_a_crash_at_any_step_loses_nothing_and_the_next_run_goes_on(
    archivist: Archivist, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "DELETED_TOGETHER", 2)
    for lap, (step, turn) in enumerate(STEPS.items()):
        events = [await archivist.finished(10 * lap + number) for number in range(1, 4)]
        archivist.grow_old()
        before, gone = await archivist.check(), set(await archivist.archived())

        with pytest.raises((StorageError, ObjectLostError)):
            await archivist.prune(FaultyStorage(archivist.folder, step), witness=FailsAt(turn))

        done = 2 if step == "second commit" else 0
        assert len(set(await archivist.archived()) - gone) == done, step
        assert len(await desk.rows(t.inbox)) == len(events) - done, step
        assert (await archivist.prune()).events == len(events) - done
        assert set(await archivist.archived()) - gone == set(events)
        after = await archivist.check()
        assert (after.violations, after.received, after.states) == ((), before.received, before.states)
        assert [(await archivist.shown(event)).state for event in events] == ["applied"] * len(events)


async def test_rows_that_are_not_those_in_the_archive_stay(
    archivist: Archivist, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await archivist.finished(1)
    archivist.grow_old()
    before = await archivist.rows()

    async def one_more(conn: AsyncConnection, records: Sequence[EventRecord]) -> int:
        return await delete_rows(conn, records) + 1

    monkeypatch.setattr(pruning, "delete_rows", one_more)
    with pytest.raises(PermanentError, match="rows would have been deleted"):
        await archivist.prune()

    assert (await archivist.rows(), await desk.rows(archived)) == (before, [])


async def test_a_limit_a_dry_run_and_a_witness_leave_the_rest(archivist: Archivist) -> None:
    events = [await archivist.finished(number) for number in range(1, 6)]
    archivist.grow_old()

    class Cautious(NoWitness):
        async def may_prune(self, conn: AsyncConnection, records: Sequence[EventRecord]) -> Sequence[EventRecord]:
            return [one for one in records if one.event_id != events[0]]

    dry = await archivist.pruner().run(AGE, dry_run=True)
    assert (dry.events, await archivist.archived(), archivist.objects()) == (5, [], [])
    some = await archivist.pruner(witness=Cautious()).run(AGE, events_max=2)
    assert (some.events, some.unsealed, some.is_complete) == (2, 1, False)
    assert sorted(await archivist.archived()) == sorted(events[1:3])
    assert (await archivist.prune(is_stopping=lambda: True)).events == 0


async def test_an_archive_that_lost_something_says_so(archivist: Archivist, desk: Desk) -> None:
    event = await archivist.finished(1)
    archivist.grow_old()
    await archivist.prune()
    [file], [row] = archivist.objects(), await desk.rows(archive_objects)
    content = file.read_bytes()
    stranger = {"event_id": uuid7(), "object_id": row.id, "event_seq": None, "late": True}

    async def told(event_id: UUID) -> str:
        with pytest.raises(ObjectLostError) as lost:
            await archivist.archive.load(event_id)
        assert len((await archivist.archive.verify()).faults) == 1
        return str(lost.value)

    file.write_bytes(gzip.compress(gzip.decompress(content).replace(b"order", b"0rder"), mtime=0))
    assert "another content" in await told(event)
    file.unlink()
    assert "no such object" in await told(event)
    file.write_bytes(content)
    assert (await archivist.archive.load(event)).record.event_id == event
    await desk.add(archived, stranger)
    assert "is not in it" in await told(stranger["event_id"])
    await desk.change(archived, archived.c.late)

    sorts = []
    for table in (archive_objects, archived):
        await desk.change(table)
        sorts.append({one.sort for one in (await archivist.check()).violations})

    assert sorts == [{"object of an archived event"}, {"archived events", "event of an identity"}]
