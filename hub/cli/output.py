"""How the command line answers: tables for people, JSON for programs, exit codes for both.

0   done, nothing wrong
1   a problem was found, or the call could not be carried out
2   the call itself was wrong (usage, settings, routing.yaml)
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import re
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar
from uuid import UUID

import structlog
import typer
from pydantic import BaseModel
from sqlalchemy.exc import DBAPIError

from hub.cli.lock import describe_holder
from hub.cli.logs import set_up_logs
from hub.environment import Environment
from hub.errors import ConfigError, HubError, StoreUnavailableError, UsageError
from hub.store.words import words_of

if TYPE_CHECKING:
    from rich.console import Console

EXIT_OK, EXIT_PROBLEM, EXIT_USAGE = 0, 1, 2
PIPE_COLUMNS = 400
"""How wide a table may become where it is not shown on a terminal."""

T = TypeVar("T")
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@cache
def console(*, stderr: bool = False) -> Console:
    """Where tables and sentences are drawn. What draws them is loaded only then: a daemon never needs its 3 MB."""
    from rich.console import Console  # noqa: PLC0415

    return Console(stderr=stderr, soft_wrap=True, highlight=False)


def run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run one command to its end; the hub's own errors become one plain sentence and an exit code."""
    if not structlog.is_configured():
        # As it comes, on a terminal, structlog shows the values of local variables with an error.
        set_up_logs(level="warning")
    try:
        return asyncio.run(work())
    except ConfigError as error:
        for problem in error.problems:
            _print_error(str(problem))
        raise typer.Exit(EXIT_USAGE) from error
    except UsageError as error:
        fail(str(error), code=EXIT_USAGE)
    except StoreUnavailableError as error:
        fail(_with_holder(str(error)))
    except HubError as error:
        fail(str(error))
    except UnicodeEncodeError:
        # A terminal hands over bytes that are no UTF-8 as halves of surrogate pairs.
        fail("expected arguments in UTF-8", code=EXIT_USAGE)
    except DBAPIError as error:
        fail(f"the database refused the statement: {words_of(error)}")


def fail(message: str, *, code: int = EXIT_PROBLEM) -> NoReturn:
    """Say what is wrong and end."""
    _print_error(message)
    raise typer.Exit(code)


def _print_error(message: str) -> None:
    from rich.text import Text  # noqa: PLC0415

    console(stderr=True).print(Text.assemble(("error", "red"), " ", _printable(message)))


def _with_holder(message: str) -> str:
    if "locked" not in message:
        return message
    holder = describe_holder(Environment(os.environ).home)
    return f"{message}: {holder} is writing to it; try again, nothing was changed"


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(value, default=plain, ensure_ascii=False, indent=2) + "\n")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str = "none") -> None:
    """A table for people; one line says so when there is nothing."""
    if not rows:
        say(f"{title}: {empty}" if title else empty)
        return
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(
        title=Text(title) if title else None, title_justify="left", box=None, header_style="bold", pad_edge=False
    )
    table.show_header = any(columns)
    for column in columns:
        table.add_column(Text(column), overflow="fold")
    for row in rows:
        table.add_row(*(Text(_printable(text_of(cell))) for cell in row))
    if not console().is_terminal:
        # The console read its width once, when it was made.
        columns = os.environ.get("COLUMNS", "")
        console().width = int(columns) if columns.isdigit() else PIPE_COLUMNS
    console().print(table)


def say(message: str) -> None:
    """One line for people."""
    from rich.text import Text  # noqa: PLC0415

    console().print(Text(_printable(message)))


def plain(value: object) -> object:
    """A value as JSON can hold it: times in ISO 8601 UTC with Z, numbers exactly, models and dataclasses as objects."""
    match value:
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case UUID():
            return str(value)
        case Decimal():
            return str(value)
        case Enum():
            return value.value
        case BaseModel():
            return value.model_dump(mode="json")
        case bytes():
            return value.decode("utf-8", "replace")
        case Mapping():
            return dict(value)
        case set() | frozenset() | tuple():
            return list(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def text_of(cell: object) -> str:
    """A cell of a table."""
    match cell:
        case None:
            return ""
        case bool():
            return "yes" if cell else "no"
        case datetime():
            return cell.strftime("%Y-%m-%d %H:%M:%SZ")
        case Enum():
            return str(cell.value)
    return str(cell)


def _printable(text: str) -> str:
    """Without what a terminal would obey: these texts may come from a sender."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
