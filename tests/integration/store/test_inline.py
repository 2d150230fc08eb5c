"""SQLite on the loop's own thread: what is quick needs no other, and what is slow does not hold up the loop."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.errors import StoreUnavailableError
from hub.store import inline, sqlite_pace
from hub.store.store import Store, interrupt

T = TypeVar("T")

COUNTED = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < :upto)"
SLOW = text(f"{COUNTED} SELECT max(x) FROM n")
FILL = text(f"INSERT INTO notes (n) {COUNTED} SELECT x FROM n")
MANY = 400_000
FOR_EVER = 1_000_000_000
BUSY_S = 0.3
PATIENT_S = 30.0


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """An SQLite file with one table, and no statement that is known by its pace."""
    sqlite_pace._paces.clear()
    async with opened(tmp_path) as store:
        await store.write(lambda conn: conn.execute(text("CREATE TABLE notes (n INTEGER, said TEXT)")))
        yield store


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Store]:
    """The file in this folder, with no thread left behind."""
    before = threads()
    store = Store.open(f"sqlite+aiosqlite:///{folder / 'inline.db'}", busy_timeout_s=BUSY_S)
    try:
        yield store
    finally:
        await store.close()
        async with asyncio.timeout(5):
            while threads() > before:  # noqa: ASYNC110 - a thread tells no event
                await asyncio.sleep(0.01)


def threads() -> int:
    """How many of the connections have one."""
    return sum(thread.name == "hub-sqlite" for thread in threading.enumerate())


async def turns_during(work: Awaitable[T], *, each_s: float = 0.001) -> tuple[T, int]:
    """Its result, and how often the loop came round meanwhile, counted no sooner than after so long."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(each_s)
            turns += 1

    counting = asyncio.create_task(count())
    await asyncio.sleep(0)
    try:
        return await work, turns
    finally:
        counting.cancel()


@contextmanager
def locked(store: Store) -> Iterator[sqlite3.Connection]:
    """Another has the lock of the one writer."""
    with closing(sqlite3.connect(str(store.writer.url.database), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


async def count(store: Store) -> int:
    """How many notes there are."""
    async with store.reading() as conn:
        found: int = (await conn.execute(text("SELECT count(*) FROM notes"))).scalar_one()
    return found


async def note(conn: AsyncConnection, number: int = 1) -> None:
    """Write one."""
    await conn.execute(text("INSERT INTO notes (n) VALUES (:n)"), {"n": number})


async def test_readers_need_no_thread(store: Store, tmp_path: Path) -> None:
    async with opened_beside(tmp_path) as other:
        before = threads()
        for _ in range(3):
            assert await count(other) == 0
        assert threads() == before


@asynccontextmanager
async def opened_beside(folder: Path, *, busy_timeout_s: float = BUSY_S) -> AsyncIterator[Store]:
    """The same file once more."""
    store = Store.open(f"sqlite+aiosqlite:///{folder / 'inline.db'}", busy_timeout_s=busy_timeout_s)
    yield store
    await store.close()


@pytest.mark.parametrize("where", ["reading", "writing"])
async def test_a_slow_select_holds_nobody_up(store: Store, where: str) -> None:
    async def look(conn: AsyncConnection) -> Any:
        return (await conn.execute(SLOW, {"upto": MANY})).scalar_one()

    async def read() -> Any:
        async with store.reading() as conn:
            return await look(conn)

    answer, turns = await turns_during(read() if where == "reading" else store.write(look))

    assert answer == MANY
    assert turns >= 3


async def test_a_select_that_is_stopped_leaves_its_transaction_whole(store: Store) -> None:
    async def work(conn: AsyncConnection) -> None:
        await note(conn)
        assert (await conn.execute(SLOW, {"upto": MANY})).scalar_one() == MANY
        await note(conn)

    await store.write(work)

    assert await count(store) == 2


async def test_a_statement_that_looks_through_a_table_is_tried_in_the_thread(store: Store) -> None:
    ran_in: list[int] = []

    async def work(conn: AsyncConnection) -> None:
        await tell_thread(conn, ran_in)
        await conn.execute(text("INSERT INTO notes (n) VALUES (told())"))
        for _ in range(sqlite_pace.TRIALS):
            await conn.execute(text("UPDATE notes SET n = told()"))

    await store.write(work)

    is_here = [one == threading.get_ident() for one in ran_in]
    assert is_here == [True, *[False] * sqlite_pace.TRIALS]


async def tell_thread(conn: AsyncConnection, ran_in: list[int]) -> None:
    """Have the statements that ask ``told()`` note the thread in which they run."""

    def told() -> int:
        ran_in.append(threading.get_ident())
        return len(ran_in)

    adapted: Any = (await conn.get_raw_connection()).dbapi_connection
    adapted.create_function("told", 0, told)


async def test_a_change_that_takes_long_holds_nobody_up(store: Store) -> None:
    async def fill(conn: AsyncConnection) -> int:
        _, turns = await turns_during(conn.execute(FILL, {"upto": MANY}))
        return turns

    assert await store.write(fill) >= 3
    assert await count(store) == MANY


async def test_many_statements_of_one_transaction_give_others_a_turn(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    # None of them goes to the thread, however busy the machine is: that would be a turn as well.
    monkeypatch.setattr(inline, "READ_S_MAX", PATIENT_S)
    monkeypatch.setattr(sqlite_pace, "SLOW_S", PATIENT_S)

    async def look(conn: AsyncConnection) -> None:
        for _ in range(300):
            await conn.execute(SLOW, {"upto": 1_000})

    async with store.reading() as conn:
        _, turns = await turns_during(look(conn))

    assert turns >= 3


async def test_many_transactions_in_a_row_give_others_a_turn(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inline, "TURN_S_MAX", PATIENT_S)
    monkeypatch.setattr(inline, "READ_S_MAX", PATIENT_S)
    monkeypatch.setattr(sqlite_pace, "SLOW_S", PATIENT_S)
    await count(store)

    async def look() -> None:
        for _ in range(30):
            await count(store)

    _, turns = await turns_during(look(), each_s=0)

    assert turns >= 2


async def test_where_a_statement_runs_is_learnt() -> None:
    pace = sqlite_pace.Pace(is_read=False, in_thread=sqlite_pace.TRIALS)

    for _ in range(sqlite_pace.TRIALS):
        pace.took(0.0001, was_in_thread=True)
    assert not pace.in_thread

    # The machine may have had something else to do.
    pace.took(1.0, was_in_thread=False)
    assert pace.in_thread == 2
    for _ in range(2):
        pace.took(0.0001, was_in_thread=True)
    assert not pace.in_thread

    for _ in range(20):
        pace.took(1.0, was_in_thread=bool(pace.in_thread))
    assert pace.in_thread == sqlite_pace.SLOW_RUNS_MAX


@pytest.mark.parametrize("rows", [inline.ROWS_MAX, 50_000])
async def test_many_rows_of_one_statement_are_written_in_the_thread(store: Store, rows: int) -> None:
    async def write(conn: AsyncConnection) -> tuple[int, int]:
        values: Any = [(number, None) for number in range(rows)]
        insert = conn.exec_driver_sql("INSERT INTO notes (n, said) VALUES (?, ?)", values)
        written, turns = await turns_during(insert)
        return written.rowcount, turns

    written, turns = await store.write(write)

    assert written == await count(store) == rows
    assert bool(turns) is (rows > inline.ROWS_MAX)


class SlowToCommit(sqlite3.Connection):
    """A disk that takes its time."""

    threads: list[int]

    def commit(self) -> None:
        """Commit, and say where."""
        self.threads.append(threading.get_ident())
        time.sleep(0.1)
        super().commit()


async def test_a_commit_holds_nobody_up(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SlowToCommit, "threads", [], raising=False)
    open_file = inline.open_file
    monkeypatch.setattr(inline, "open_file", lambda *args, **kw: open_file(*args, **kw, factory=SlowToCommit))
    async with opened_beside(tmp_path) as slow:
        _, turns = await turns_during(slow.write(note))

        assert turns >= 3
        assert threading.get_ident() not in SlowToCommit.threads

        # One that has nothing to write has nothing to wait for.
        await slow.write(lambda conn: conn.execute(text("UPDATE notes SET n = 5 WHERE n = 77")))
        assert SlowToCommit.threads[1:] == [threading.get_ident()]


async def test_anothers_lock_is_waited_for_while_the_loop_goes_on(store: Store, tmp_path: Path) -> None:
    async with opened_beside(tmp_path, busy_timeout_s=PATIENT_S) as patient:
        with locked(store) as other:
            writing = asyncio.create_task(patient.write(note))
            _, turns = await turns_during(asyncio.sleep(0.1))
            assert turns >= 3
            assert not writing.done()
            other.execute("COMMIT")

        await writing
    assert await count(store) == 1


async def test_a_lock_is_waited_for_no_longer_than_the_busy_timeout(store: Store) -> None:
    with locked(store), pytest.raises(StoreUnavailableError, match="locked"):
        async with asyncio.timeout(5):
            await store.write(note)

    await store.write(note)
    assert await count(store) == 1


async def test_who_is_cut_off_while_waiting_for_a_lock_does_not_get_it(store: Store) -> None:
    with locked(store) as other:
        writing = asyncio.create_task(store.write(note))
        await asyncio.sleep(0.05)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        other.execute("COMMIT")

        other.execute("BEGIN IMMEDIATE")
    await store.write(note)
    assert await count(store) == 1


@pytest.mark.parametrize("statement", [SLOW, FILL])
async def test_a_statement_that_is_cut_off_leaves_no_lock(store: Store, statement: Any) -> None:
    is_under_way = asyncio.Event()

    async def work(conn: AsyncConnection) -> None:
        await note(conn)
        is_under_way.set()
        await conn.execute(statement, {"upto": FOR_EVER})

    writing = asyncio.create_task(store.write(work))
    await is_under_way.wait()
    await asyncio.sleep(0.05)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(5):
            await writing

    with locked(store):
        pass
    assert await count(store) == 0
    await store.write(note)
    assert await count(store) == 1


async def test_a_statement_can_be_interrupted_from_outside(store: Store) -> None:
    seen: list[AsyncConnection] = []

    async def work(conn: AsyncConnection) -> None:
        seen.append(conn)
        await conn.execute(SLOW, {"upto": FOR_EVER})

    writing = asyncio.create_task(store.write(work))
    # Long enough for it to be in the thread.
    await asyncio.sleep(20 * inline.READ_S_MAX)
    interrupt(seen[0])
    async with asyncio.timeout(5):
        await asyncio.wait([writing])

    assert "interrupted" in str(writing.exception())
    await store.write(note)


async def test_rows_can_be_taken_a_few_at_a_time(store: Store) -> None:
    await store.write(lambda conn: conn.execute(FILL, {"upto": 1_000}))

    async with store.reading() as conn:
        found = await conn.stream(text("SELECT n FROM notes ORDER BY n"), execution_options={"yield_per": 300})
        parts = [len(rows) async for rows in found.partitions(300)]

    assert parts == [300, 300, 300, 100]


@pytest.mark.parametrize("way", ["stream", "error"])
async def test_a_statement_that_did_not_end_keeps_no_moment(store: Store, way: str) -> None:
    await store.write(lambda conn: conn.execute(FILL, {"upto": 1_000}))
    await store.write(lambda conn: conn.execute(text("UPDATE notes SET said = CAST(x'ff' AS TEXT)")))
    kept: list[object] = []

    async with store.reading() as conn:
        if way == "stream":
            found = await conn.stream(text("SELECT n FROM notes"), execution_options={"yield_per": 10})
            kept.append(await found.fetchone())
            kept.append(found)
        else:
            with pytest.raises(OperationalError, match="decode") as raised:
                await conn.execute(text("SELECT said FROM notes"))
            kept.append(raised)
    await store.write(lambda conn: conn.execute(text("DELETE FROM notes")))

    assert await count(store) == 0


async def test_a_connection_that_was_closed_is_said_to_be_lost(store: Store) -> None:
    async def work(conn: AsyncConnection) -> None:
        driver: Any = (await conn.get_raw_connection()).driver_connection
        driver.stop()
        await note(conn)

    with pytest.raises(StoreUnavailableError, match="lost"):
        await store.write(work)

    await store.write(note)
    assert await count(store) == 1


async def fill_the_disk(conn: AsyncConnection) -> None:
    """A statement for which there is no room, as a handler has it that swallows whatever goes wrong."""
    pages = (await conn.exec_driver_sql("PRAGMA page_count")).scalar_one()
    await conn.exec_driver_sql(f"PRAGMA max_page_count = {pages + 10}")
    with suppress(OperationalError):
        await conn.execute(text("INSERT INTO notes (said) VALUES (zeroblob(1000000))"))


async def go_on_with_many(conn: AsyncConnection) -> None:
    """Write so many that they go to the thread."""
    await conn.exec_driver_sql("INSERT INTO notes (n) VALUES (?)", [(n,) for n in range(inline.ROWS_MAX + 1)])


async def go_on_within(conn: AsyncConnection) -> None:
    """Write in a savepoint, which SQLite takes for a transaction where there is none."""
    async with conn.begin_nested():
        await note(conn)


async def go_on_with_nothing(_: AsyncConnection) -> None:
    """Only commit."""


@pytest.mark.parametrize("go_on", [note, go_on_with_many, go_on_within, go_on_with_nothing])
@pytest.mark.parametrize("others", [0, 1], ids=["alone", "shared"])
async def test_nothing_is_kept_of_a_transaction_that_sqlite_has_undone(
    store: Store, go_on: Callable[[AsyncConnection], Awaitable[None]], others: int
) -> None:
    async def work(conn: AsyncConnection) -> None:
        await note(conn, 7)
        await fill_the_disk(conn)
        await go_on(conn)

    beside = [store.write(note, may_share=True) for _ in range(others)]
    results = await asyncio.gather(*beside, store.write(work, may_share=bool(others)), return_exceptions=True)

    assert [type(one) for one in results] == [*[type(None)] * others, StoreUnavailableError]
    assert await count(store) == others
    await store.write(note)
    assert await count(store) == others + 1
