"""SQLite on the loop's own thread, as long as it is quick; a thread for what may take long.

A statement of the hub takes SQLite some microseconds, and handing it to a thread a hundred times as long. So statements
run where they are made, and what could hold up the loop does not:

- a commit of something waits for the disk, in the connection's thread;
- a SELECT has ``READ_S_MAX``: past it, it is stopped, which is safe, and runs again in the thread;
- another statement may not be stopped (its whole transaction would be rolled back), so one that looks through a table
  is tried in the thread first, one that was slow goes there for a while, and so do many rows at once;
- what is neither of them (DDL, a PRAGMA) goes to the thread;
- a lock that another process holds is asked for again and again, with the loop's sleep in between.

What goes wrong with the disk or its room makes SQLite undo a whole transaction, savepoints and all, and whatever comes
next would be committed by itself: so it is refused until the transaction has been ended.

A connection that needs no thread has none. Cancelling stops the statement under way.
Source: docs/decisions/0011-sqlite-on-the-loop.md.
"""

from __future__ import annotations

import asyncio
import math
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any, Final, NamedTuple, TypeVar, cast

from hub.store.sqlite_pace import Pace, pace_of

T = TypeVar("T")

READ_S_MAX: Final = 0.01
"""How long a SELECT may hold up the loop."""
TURN_S_MAX: Final = 0.005
"""After so much of one connection's statements the loop has a turn."""
TRANSACTIONS_IN_A_ROW: Final = 8
"""After so many that waited for nothing the loop has a turn as well: their work is not SQLite's alone."""
ROWS_MAX: Final = 20
"""Of one statement on the loop: more of them take longer than the way to the thread and back."""
PROGRESS_STEPS: Final = 1_000
"""SQLite's steps between two looks at the time."""
STATEMENTS_KEPT: Final = 256
"""How many prepared statements a connection keeps."""
UNDONE: Final = "SQLite has undone the transaction"
"""What is said to who goes on in one that SQLite has rolled back by itself."""
RETRY_S: Final = (0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.025)
"""How long is waited for another's lock between one try and the next, the last again and again."""


class Answer(NamedTuple):
    """What a statement has given, all of it."""

    rows: list[Any]
    changed: int
    description: Any = None
    last_id: int | None = None


class Driver:
    """One connection to SQLite. One task uses it at a time."""

    def __init__(self, file: sqlite3.Connection, *, busy_timeout_s: float) -> None:
        self._file = file
        self._busy_timeout_s = busy_timeout_s
        self._thread: Thread | None = None
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._is_closed = False
        self._waiting = 0
        """How many jobs the thread has not ended yet."""
        self._until = math.inf
        """When the statement on the loop's thread is to be stopped."""
        self._spent_s = 0.0
        """How long statements have run since the loop had a turn."""
        self._in_a_row = 0
        """How many transactions there were since then."""
        self._has_begun = False
        """Whether a transaction has begun that nobody has ended; where the file is in none, SQLite has undone it."""
        self._committed = 0
        """How many rows had been changed at the last commit."""
        self._has_changed_more = False
        """Whether the transaction did what no count of rows tells."""
        self._streams: list[sqlite3.Cursor] = []
        """Statements that did not end yet."""
        file.set_progress_handler(self._is_over, PROGRESS_STEPS)

    async def execute(self, statement: str, values: Sequence[Any] = ()) -> Answer:
        """Run one statement and take all its rows."""
        if self._spent_s > TURN_S_MAX:
            await self._give_turn()
        pace = pace_of(self._file, statement, values, may_plan=not self._waiting)
        if pace.in_thread or self._waiting:
            return await self._execute_apart(statement, values, pace)
        if pace.is_read:
            self._until = time.perf_counter() + READ_S_MAX
        begun = time.perf_counter()
        try:
            return self._run(statement, values)
        except sqlite3.OperationalError as error:
            if not (_is_stopped(error) and pace.is_read) and not _is_busy(error):
                raise
        finally:
            self._until = math.inf
            spent = time.perf_counter() - begun
            self._spent_s += spent
            pace.took(spent, was_in_thread=False)
        return await self._execute_apart(statement, values, pace)

    async def executemany(self, statement: str, rows: Sequence[Sequence[Any]]) -> Answer:
        """Run one statement for each row. Many go to the thread: the loop has better things to do meanwhile."""
        if self._waiting or len(rows) > ROWS_MAX:
            return await self._patiently(partial(self._apart, partial(self._run_many, statement, rows)))
        if self._spent_s > TURN_S_MAX:
            await self._give_turn()
        begun = time.perf_counter()
        try:
            return self._run_many(statement, rows)
        finally:
            self._spent_s += time.perf_counter() - begun

    async def begin(self, statement: str) -> None:
        """Begin a transaction; wait for another's lock as long as the busy timeout says."""
        self._in_a_row += 1
        if self._spent_s > TURN_S_MAX or self._in_a_row > TRANSACTIONS_IN_A_ROW:
            await self._give_turn()
        if self._waiting:
            await self._apart(_nothing)
        await self._patiently(partial(self._here, partial(_run, self._file, statement, ())))
        self._has_begun = True
        self._committed = self._file.total_changes
        self._has_changed_more = False

    async def set_up(self, pragmas: Sequence[str]) -> None:
        """Set a new connection up."""
        for pragma in pragmas:
            await self._patiently(partial(self._here, partial(_run, self._file, f"PRAGMA {pragma}", ())))

    async def commit(self) -> None:
        """End the transaction; one that changed something, in the thread, as the disk takes its time."""
        await self._end_streams()
        if not self._waiting and not self._has_changed():
            await self._patiently(partial(self._here, self._commit))
        else:
            await self._patiently(partial(self._apart, self._commit, can_be_stopped=False))
        self._has_begun = False

    async def rollback(self) -> None:
        """Undo the transaction, behind whatever the thread still has in hand."""
        await self._end_streams()
        if self._waiting:
            await self._apart(self._file.rollback, can_be_stopped=False)
        elif self._file.in_transaction:
            self._file.rollback()
        self._has_begun = False

    async def apart(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do something of any length with the connection, in its thread."""
        self._has_changed_more = True

        def run() -> T:
            self._refuse_what_is_undone()
            return work(self._file)

        return await self._patiently(partial(self._apart, run))

    async def stream(self, statement: str, values: Sequence[Any]) -> sqlite3.Cursor:
        """Run a statement as far as its first row."""

        def run(file: sqlite3.Connection) -> sqlite3.Cursor:
            cursor = file.cursor()
            self._streams.append(cursor)
            return cursor.execute(statement, values)

        return await self.apart(run)

    async def end_stream(self, cursor: sqlite3.Cursor) -> None:
        """Give up what is left of it."""
        if cursor in self._streams:
            self._streams.remove(cursor)
            await self._apart(cursor.close, can_be_stopped=False)

    async def _end_streams(self) -> None:
        # One that is left open keeps its moment for all transactions that follow.
        while self._streams:
            await self.end_stream(self._streams[-1])

    @property
    def in_transaction(self) -> bool:
        """Whether one has begun, and SQLite has not undone it by itself."""
        return self._file.in_transaction

    def interrupt(self) -> None:
        """Stop the statement under way, if there is one."""
        with suppress(sqlite3.ProgrammingError):  # it is closed: nothing is
            self._file.interrupt()

    async def close(self) -> None:
        """Close it: the last one brings the log home, so in the thread. Safe to call twice."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            await self._apart(self._file.close, can_be_stopped=False)
        finally:
            self._end_thread()

    def stop(self) -> None:
        """Close it without waiting for it."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._waiting:
            self._jobs.put(_Job(None, None, self._file.close))
        else:
            self._file.close()
        self._end_thread()

    def _end_thread(self) -> None:
        if self._thread is not None:
            self._jobs.put(None)
            self._thread = None

    def _is_over(self) -> bool:
        return time.perf_counter() > self._until

    def _has_changed(self) -> bool:
        return self._has_changed_more or self._file.total_changes != self._committed

    async def _give_turn(self) -> None:
        self._spent_s, self._in_a_row = 0.0, 0
        await asyncio.sleep(0)

    def _run(self, statement: str, values: Sequence[Any]) -> Answer:
        self._refuse_what_is_undone()
        return _run(self._file, statement, values)

    def _run_many(self, statement: str, rows: Sequence[Sequence[Any]]) -> Answer:
        self._refuse_what_is_undone()
        return _run_many(self._file, statement, rows)

    def _commit(self) -> None:
        self._refuse_what_is_undone()
        self._file.commit()

    def _refuse_what_is_undone(self) -> None:
        # Asked where the statement runs: what is ahead of it in the thread may undo the transaction, too.
        if self._has_begun and not self._file.in_transaction:
            raise sqlite3.OperationalError(UNDONE)

    async def _execute_apart(self, statement: str, values: Sequence[Any], pace: Pace) -> Answer:
        if not pace.is_read and pace.in_thread == math.inf:
            self._has_changed_more = True

        def run() -> Answer:
            begun = time.perf_counter()
            try:
                return self._run(statement, values)
            finally:
                pace.took(time.perf_counter() - begun, was_in_thread=True)

        return await self._patiently(partial(self._apart, run))

    async def _patiently(self, run: Callable[[], Awaitable[T]]) -> T:
        """Try again while another has the lock, until the busy timeout."""
        end = time.monotonic() + self._busy_timeout_s
        for attempt in range(1_000_000):
            try:
                return await run()
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or time.monotonic() > end:
                    raise
            await asyncio.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])
        raise AssertionError("unreachable: the timeout is shorter")

    async def _here(self, run: Callable[[], T]) -> T:
        return run()

    async def _apart(self, run: Callable[[], T], *, can_be_stopped: bool = True) -> T:
        """In the thread, which is made by the first who asks for it."""
        if self._thread is None:
            self._thread = Thread(target=_work, args=(self._jobs,), name="hub-sqlite", daemon=True)
            self._thread.start()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._waiting += 1
        self._spent_s, self._in_a_row = 0.0, 0
        self._jobs.put(_Job(loop, self._answered(future), run))
        try:
            return await future
        except asyncio.CancelledError:
            if can_be_stopped:
                self.interrupt()
            raise

    def _answered(self, future: asyncio.Future[Any]) -> Callable[[Any, BaseException | None], None]:
        def answered(result: Any, error: BaseException | None) -> None:
            self._waiting -= 1
            if future.done():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        return answered


class _Job(NamedTuple):
    loop: asyncio.AbstractEventLoop | None
    answered: Callable[[Any, BaseException | None], None] | None
    run: Callable[[], Any]


def _work(jobs: SimpleQueue[_Job | None]) -> None:
    """What a thread does until its connection is closed."""
    while (job := jobs.get()) is not None:
        result, error = None, None
        try:
            result = job.run()
        except BaseException as raised:
            error = raised
        if job.loop is not None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                job.loop.call_soon_threadsafe(cast(Any, job.answered), result, error)
        # The next may be long in coming.
        del job, result, error


def _run(file: sqlite3.Connection, statement: str, values: Sequence[Any]) -> Answer:
    cursor = file.cursor()
    try:
        cursor.execute(statement, values)
        description = cursor.description
        rows = [] if description is None else cursor.fetchall()
    except BaseException:
        # The error keeps it alive, and a statement that did not end keeps its moment for all that follow.
        cursor.close()
        raise
    return Answer(rows, cursor.rowcount, description, cursor.lastrowid)


def _run_many(file: sqlite3.Connection, statement: str, rows: Sequence[Sequence[Any]]) -> Answer:
    cursor = file.cursor()
    cursor.executemany(statement, rows)
    return Answer([], cursor.rowcount, None, cursor.lastrowid)


def _nothing() -> None:
    """What the thread does for one who only waits until it is free."""


def _is_stopped(error: sqlite3.OperationalError) -> bool:
    return _code(error) == sqlite3.SQLITE_INTERRUPT


def _is_busy(error: sqlite3.OperationalError) -> bool:
    # A snapshot that is too old to write does not get younger.
    return _code(error) & 0xFF == sqlite3.SQLITE_BUSY and _code(error) != sqlite3.SQLITE_BUSY_SNAPSHOT


def _code(error: sqlite3.OperationalError) -> int:
    return getattr(error, "sqlite_errorcode", 0)


def open_file(database: str, **options: Any) -> sqlite3.Connection:
    """SQLite's own connection: it begins and commits nothing by itself, and waits for no lock."""
    settings = {"check_same_thread": False, "cached_statements": STATEMENTS_KEPT, "timeout": 0}
    file: sqlite3.Connection = sqlite3.connect(database, isolation_level=None, **{**options, **settings})
    return file
