"""Transactions on SQLite that wait for each other share a commit, and nothing else."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.errors import StoreUnavailableError
from hub.store import sharing
from hub.store.inline import Answer, Driver
from hub.store.store import Store
from tests.support.patience import STILL_S_MAX, until

Write = Callable[[AsyncConnection], Awaitable[None]]


@pytest.fixture
async def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Store]:
    """An SQLite file with one table, and a machine that is never too busy to share."""
    monkeypatch.setattr("hub.store.store.SHARED_S_MAX", 60.0)
    store = Store.open(f"sqlite+aiosqlite:///{tmp_path / 'sharing.db'}")
    await store.write(lambda conn: conn.execute(text("CREATE TABLE notes (said TEXT UNIQUE)")))
    yield store
    await store.close()


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each commit has brought."""
    rows: list[int] = []
    commit = Driver.commit

    async def counted(driver: Driver) -> None:
        if changed := driver._file.total_changes - driver._committed:
            rows.append(changed)
        await commit(driver)

    monkeypatch.setattr(Driver, "commit", counted)
    return rows


def says(word: str) -> Write:
    async def work(conn: AsyncConnection) -> None:
        await conn.execute(text("INSERT INTO notes VALUES (:word)"), {"word": word})

    return work


async def said(store: Store) -> list[str]:
    async with store.reading() as conn:
        return list(await conn.scalars(text("SELECT said FROM notes ORDER BY rowid")))


async def test_those_that_wait_share_one_commit(store: Store, commits: list[int]) -> None:
    await asyncio.gather(*(store.write(says(word), may_share=True) for word in "abc"))

    assert await said(store) == ["a", "b", "c"]
    assert commits == [3]


async def test_one_that_may_not_share_has_a_commit_of_its_own(store: Store, commits: list[int]) -> None:
    await asyncio.gather(*(store.write(says(word), may_share=word != "b") for word in "abc"))

    assert await said(store) == ["a", "b", "c"]
    assert commits == [1, 1, 1]


async def test_nobody_joins_a_transaction_that_is_old(
    store: Store, commits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store._line, "_young_s_max", 0.0)

    await asyncio.gather(*(store.write(says(word), may_share=True) for word in "abc"))

    assert commits == [1, 1, 1]


async def test_no_more_than_so_many_share_a_commit(
    store: Store, commits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "SHARED_MAX", 2)

    await asyncio.gather(*(store.write(says(word), may_share=True) for word in "abcde"))

    assert commits == [2, 2, 1]


async def test_what_one_raises_undoes_that_one_alone(store: Store, commits: list[int]) -> None:
    async def fails(conn: AsyncConnection) -> None:
        await says("b")(conn)
        raise ValueError("no")

    works: list[Write] = [says("a"), fails, says("c")]
    results = await asyncio.gather(*(store.write(one, may_share=True) for one in works), return_exceptions=True)

    assert [type(result) for result in results] == [type(None), ValueError, type(None)]
    assert await said(store) == ["a", "c"]
    assert len(commits) == 1


async def test_where_the_database_undoes_everything_the_others_run_again(store: Store) -> None:
    async def undoes(conn: AsyncConnection) -> None:
        await conn.exec_driver_sql("INSERT OR ROLLBACK INTO notes VALUES ('a')")

    runs: list[str] = []

    async def first(conn: AsyncConnection) -> None:
        runs.append("a")
        await says("a")(conn)

    works: list[Write] = [first, undoes, says("c")]
    results = await asyncio.gather(*(store.write(one, may_share=True) for one in works), return_exceptions=True)

    assert [result is None for result in results] == [True, False, True]
    assert await said(store) == ["c", "a"]
    assert runs == ["a", "a"]


async def test_who_was_undone_too_often_for_others_runs_alone(store: Store) -> None:
    await store.write(says("b"))
    runs: list[str] = []

    async def undone(conn: AsyncConnection) -> None:
        runs.append("a")
        await says("a")(conn)

    async def undoes(conn: AsyncConnection) -> None:
        await conn.exec_driver_sql("INSERT OR ROLLBACK INTO notes VALUES ('b')")

    async def others() -> None:
        while not kept.done():
            with suppress(IntegrityError):
                await store.write(undoes, may_share=True)

    kept = asyncio.create_task(store.write(undone, may_share=True))
    async with asyncio.timeout(STILL_S_MAX):
        await asyncio.gather(kept, others(), others())

    assert await said(store) == ["b", "a"]
    assert len(runs) == sharing.UNDONE_MAX + 1


async def test_one_that_is_cancelled_at_work_takes_nobody_with_it(store: Store) -> None:
    at_work = asyncio.Event()

    async def waits(conn: AsyncConnection) -> None:
        await says("b")(conn)
        at_work.set()
        await asyncio.Event().wait()

    first = asyncio.create_task(store.write(says("a"), may_share=True))
    second = asyncio.create_task(store.write(waits, may_share=True))
    third = asyncio.create_task(store.write(says("c"), may_share=True))
    await at_work.wait()
    second.cancel()
    await asyncio.gather(first, third)

    assert await said(store) == ["a", "c"]
    with pytest.raises(asyncio.CancelledError):
        await second


async def test_one_that_is_cancelled_as_its_turn_comes_passes_it_on(store: Store) -> None:
    for turns in range(12):
        tasks = [asyncio.create_task(store.write(says(f"{turns}{word}"), may_share=True)) for word in "abc"]
        for _ in range(turns):
            await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with asyncio.timeout(5):
            await store.write(says(f"{turns}d"), may_share=True)

        assert {f"{turns}{word}" for word in "acd"} <= set(await said(store))


async def test_a_commit_that_fails_is_told_to_all(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(_: Driver) -> None:
        error = OperationalError("COMMIT", {}, Exception("disk is full"))
        raise error

    with monkeypatch.context() as refused:
        refused.setattr(Driver, "commit", refuse)
        writes = (store.write(says(word), may_share=True) for word in "ab")
        results = await asyncio.gather(*writes, return_exceptions=True)

    assert [type(result) for result in results] == [StoreUnavailableError] * 2
    assert await said(store) == []


async def test_closing_waits_for_the_commit_under_way(store: Store) -> None:
    tasks = [asyncio.create_task(store.write(says(word), may_share=True)) for word in "ab"]
    await until(lambda: store._line._ending is not None, "the commit", pause_s=0)
    for task in tasks:
        task.cancel()
    await store.close()

    assert await said(store) == ["a", "b"]


@pytest.fixture
def fail_once(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have the disk fail the next statement that reads like this."""
    failing: list[str] = []
    execute = Driver.execute

    async def fails(driver: Driver, statement: str, values: Sequence[Any] = ()) -> Answer:
        if statement in failing:
            failing.remove(statement)
            raise sqlite3.OperationalError("disk I/O error")
        return await execute(driver, statement, values)

    monkeypatch.setattr(Driver, "execute", fails)
    return failing.append


@pytest.mark.parametrize("frame", ["SAVEPOINT shared", "RELEASE shared"])
async def test_where_a_closure_cannot_be_framed_all_run_again(
    store: Store, fail_once: Callable[[str], None], frame: str
) -> None:
    fail_once(frame)

    await asyncio.gather(*(store.write(says(word), may_share=True) for word in "abc"))

    assert sorted(await said(store)) == ["a", "b", "c"]


async def test_what_cannot_be_undone_alone_is_told_as_it_was_raised(
    store: Store, fail_once: Callable[[str], None]
) -> None:
    async def fails(conn: AsyncConnection) -> None:
        await says("b")(conn)
        raise ValueError("no")

    fail_once("ROLLBACK TO shared")
    works: list[Write] = [says("a"), fails, says("c")]
    results = await asyncio.gather(*(store.write(one, may_share=True) for one in works), return_exceptions=True)

    assert [type(result) for result in results] == [type(None), ValueError, type(None)]
    assert sorted(await said(store)) == ["a", "c"]


async def test_a_commit_that_is_refused_for_one_is_told_to_that_one_alone(store: Store) -> None:
    links = "CREATE TABLE links (to_note TEXT REFERENCES notes (said) DEFERRABLE INITIALLY DEFERRED)"
    await store.write(lambda conn: conn.execute(text(links)))

    async def points_nowhere(conn: AsyncConnection) -> None:
        await conn.execute(text("INSERT INTO links VALUES ('nowhere')"))

    works: list[Write] = [says("a"), points_nowhere, says("c")]
    results = await asyncio.gather(*(store.write(one, may_share=True) for one in works), return_exceptions=True)

    assert [type(result) for result in results] == [type(None), IntegrityError, type(None)]
    assert sorted(await said(store)) == ["a", "c"]


async def test_a_transaction_that_cannot_be_shared_is_ended(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("its connection is gone")

    with monkeypatch.context() as refused:
        refused.setattr(sharing, "_Shared", refuse)
        writes = [asyncio.create_task(store.write(says(word), may_share=True)) for word in "ab"]
        async with asyncio.timeout(5):
            results = await asyncio.gather(*writes, return_exceptions=True)

    assert [result is None for result in results] == [False, True]
    assert await said(store) == ["b"]
