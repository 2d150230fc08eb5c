"""Options that several commands share, and how their texts are read."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from hub.errors import UsageError

FILE_BYTES_MAX = 16 * 1024 * 1024
"""The largest file that a command reads as a payload."""
LIST_MAX = 1_000

LimitOption = Annotated[int, typer.Option(min=1, max=LIST_MAX, help="How many at most.")]
RawOption = Annotated[bool, typer.Option("--raw", help="Show payloads as they came, without masking.")]
HeaderOption = Annotated[
    list[str] | None, typer.Option("--header", metavar="NAME=VALUE", help="A header; may be repeated.")
]
ByOption = Annotated[str, typer.Option(help="Who does this; kept on record. Default: your user name.")]
NoteOption = Annotated[str, typer.Option("--note", help="What was decided; kept on record.")]
AllOption = Annotated[bool, typer.Option("--all", help="Also those that are resolved.")]
ReasonOption = Annotated[str, typer.Option(help="Why; kept on record.")]


def as_uuid(text: str, name: str) -> UUID:
    """An id as people type it. Raises UsageError."""
    try:
        return UUID(text)
    except ValueError:
        raise UsageError(
            f"{name}: expected an id such as 0197f3a2-5c41-7d3e-8a53-0d7f4b1c9e10, found {text!r}"
        ) from None


def as_moment(text: str | None, option: str) -> datetime | None:
    """A time, or how long ago, as people type it; None stays None. Raises UsageError."""
    from hub.routing.fields import parse_moment  # noqa: PLC0415 - most commands take no time

    try:
        return None if text is None else parse_moment(text, datetime.now(UTC))
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None


def as_headers(pairs: Sequence[str] | None) -> dict[str, str]:
    """``name=value`` pairs; names in lower case, repeated ones joined as HTTP does. Raises UsageError."""
    headers: dict[str, str] = {}
    for pair in pairs or ():
        name, separator, value = pair.partition("=")
        if not separator and ":" in pair:
            name, separator, value = pair.partition(":")
        name = name.strip().lower()
        if not separator or not name:
            raise UsageError(f"--header: expected name=value, found {pair[:80]!r}")
        headers[name] = f"{headers[name]}, {value.strip()}" if name in headers else value.strip()
    return headers


def read_file(name: str) -> bytes:
    """The bytes of a file, ``-`` for standard input. Raises UsageError when it cannot be read or is too large."""
    try:
        if name == "-":
            body = sys.stdin.buffer.read(FILE_BYTES_MAX + 1)
        else:
            with Path(name).open("rb") as file:
                body = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror or error}") from error
    if len(body) > FILE_BYTES_MAX:
        raise UsageError(f"{name} is larger than {FILE_BYTES_MAX} bytes")
    return body


def expect_known(option: str, name: str | None, known: Iterable[str]) -> None:
    """Raise UsageError, with the nearest name, for one that is given and not known."""
    if name is None:
        return
    from hub.routing.fields import nearest  # noqa: PLC0415 - only for the message

    names = set(known)
    if name not in names:
        raise UsageError(f"{option}: {name!r} is not known; {nearest(name, names)}")


def actor(by: str) -> str:
    """Who acts: as given, else the user of this machine."""
    if by.strip():
        return by.strip()
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "cli"
