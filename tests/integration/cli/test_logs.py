"""What the process prints of an error: its kind and its place, never the rows and values that its text quotes."""

from __future__ import annotations

import logging
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO

import pytest
import structlog
from pydantic import BaseModel
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.cli.logs import set_up_logs
from hub.errors import PermanentError
from hub.store import tables as t
from hub.store.store import Store

SECRET = "card 4111111111111111"


@contextmanager
def printed(*, as_json: bool) -> Iterator[StringIO]:
    """What goes to standard error under the logs' own configuration, which is taken back at the end."""
    before, root = structlog.get_config(), logging.getLogger()
    handlers, level, stderr = root.handlers[:], root.level, sys.stderr
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
    root.handlers.clear()
    sys.stderr = screen = StringIO()
    try:
        set_up_logs(as_json=as_json)
        structlog.configure(cache_logger_on_first_use=False)
        yield screen
    finally:
        structlog.configure(**before)
        root.handlers[:], sys.stderr = handlers, stderr
        sys.excepthook, sys.unraisablehook, threading.excepthook = hooks
        root.setLevel(level)


async def refused(store: Store) -> None:
    """A row that breaks a rule: PostgreSQL quotes it whole, in an error chained behind SQLAlchemy's."""

    async def work(conn: AsyncConnection) -> None:
        await conn.execute(insert(t.routes), [{"id": 1, "name": SECRET}, {"id": 2, "name": SECRET}])

    await store.write(work)


def test_a_logger_goes_on_when_the_stream_it_first_wrote_to_is_closed() -> None:
    with printed(as_json=True) as first:
        structlog.configure(cache_logger_on_first_use=True)
        log = structlog.get_logger()
        log.warning("before")
        first.close()
        sys.stderr = second = StringIO()
        log.warning("after")

    assert '"after"' in second.getvalue()


BOTH = pytest.mark.parametrize("as_json", [True, False], ids=["json", "pretty"])


@BOTH
async def test_a_refused_row_is_printed_nowhere_in_the_chain(store: Store, as_json: bool) -> None:
    with printed(as_json=as_json) as screen:
        try:
            try:
                await refused(store)
            except Exception as error:
                raise PermanentError("the books refuse it") from error
        except PermanentError:
            structlog.get_logger().exception("request_failed", route="/x")

    said = screen.getvalue()
    assert SECRET not in said
    assert "IntegrityError" in said
    assert "PermanentError: the books refuse it" in said
    assert "test_logs.py" in said
    assert store.dialect == "sqlite" or "23505" in said


class Card(BaseModel):
    number: int


@BOTH
def test_members_of_a_group_and_what_was_being_handled_are_told_alike(as_json: bool) -> None:
    with printed(as_json=as_json) as screen:
        try:
            try:
                Card.model_validate({"number": SECRET})
            except ValueError:
                raise ExceptionGroup("two", [KeyError(SECRET), OSError("disk full")])  # noqa: B904 - not its cause
        except ExceptionGroup as group:
            structlog.get_logger().error("loop_ended", exc_info=group)

    said = screen.getvalue()
    assert SECRET not in said
    for told in ("ValidationError", "KeyError", "OSError: disk full", "member 2 of 2"):
        assert told in said


async def test_a_librarys_own_log_is_no_way_around(store: Store) -> None:
    with printed(as_json=True) as screen:
        try:
            await refused(store)
        except Exception:
            logging.getLogger("asyncio").exception("Task exception was never retrieved")

    assert SECRET not in screen.getvalue()
    assert "IntegrityError" in screen.getvalue()


def test_an_error_that_ends_the_process_is_told_alike() -> None:
    with printed(as_json=True) as screen:
        try:
            raise LookupError(SECRET)
        except LookupError as error:
            sys.excepthook(type(error), error, error.__traceback__)

    assert SECRET not in screen.getvalue()
    assert "LookupError" in screen.getvalue()


ON_A_TERMINAL = """
import asyncio, sys, threading, structlog
{first}

def deep(body):
    raise LookupError(f"nobody has {{body}}")

class Reluctant:
    def __del__(self):
        deep(sys.argv[1])

def work():
    try:
        deep(sys.argv[1])
    except LookupError:
        structlog.get_logger().exception("request_failed", route="/x")

async def command():
    work()

{then}
thread = threading.Thread(target=deep, args=[sys.argv[1]])
thread.start()
thread.join()
Reluctant()
deep(sys.argv[1])
"""
WAYS = {
    "the daemon": ("from hub.cli.logs import set_up_logs; set_up_logs()", "work()"),
    "a command": ("from hub.cli.output import run", "run(command)"),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_terminal_shows_no_local_variable(way: str) -> None:
    first, then = WAYS[way]
    master, terminal = pty.openpty()
    command = [sys.executable, "-c", ON_A_TERMINAL.format(first=first, then=then), SECRET]
    with subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal) as process:
        os.close(terminal)
        said = _read_all(master)
    os.close(master)

    assert process.returncode == 1
    assert "request_failed" in said
    assert "\x1b[" in said, "it is told as people like it"
    # The log line, the thread, the object that was collected, and the end of the process.
    assert said.count("LookupError") >= 4
    assert said.count("in deep") >= 4
    assert SECRET not in said


def _read_all(master: int) -> str:
    said = b""
    try:
        while part := os.read(master, 65_536):
            said += part
    except OSError:
        # Linux tells the end of a terminal's other side as an error.
        pass
    return said.decode()
