"""Finding what a person means by an id, a beginning of one, or a delivery's number."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Column, Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.errors import UsageError
from hub.inbox.rows import UNREADABLE_ROUTE_ID
from hub.store import tables as t
from hub.store.tables_archive import archived

PREFIX_CHARS_MIN = 8
CANDIDATES_MAX = 5
LIMIT = 50
LIMIT_MAX = 1_000
NUMBER_DIGITS_MAX = 18
"""A longer number fits into no column of the database."""
UNREADABLE = "(unreadable)"
"""Shown for the route of an event that could not be read."""

_HEX = re.compile(r"[0-9a-f]+")


class NotFoundError(UsageError):
    """Nothing has this id, or an id that begins so."""


class ArchivedError(UsageError):
    """The event was taken into the archive, where it can be read but no longer acted on."""

    def __init__(self, event_id: UUID) -> None:
        super().__init__(f"event {event_id} is in the archive: it can be shown and proven, and nothing else")
        self.event_id = event_id


async def find_event(conn: AsyncConnection, text: str) -> UUID:
    """The event with this id, or the only one whose id begins so. Raises UsageError, which says what was expected,
    ArchivedError where it is in the archive alone.
    """
    try:
        return await find_id(conn, t.inbox.c.id, text, what="event")
    except NotFoundError:
        raise ArchivedError(await find_id(conn, archived.c.event_id, text, what="event")) from None


async def find_id(conn: AsyncConnection, column: Column[UUID], text: str, *, what: str) -> UUID:
    """The id in ``column`` that is, or alone begins with, ``text``. Raises UsageError."""
    low, high = id_range(text, what=what)
    query = select(column).where(column.between(low, high)).distinct().order_by(column).limit(CANDIDATES_MAX + 1)
    found = list((await conn.scalars(query)).all())
    if not found:
        raise NotFoundError(f"there is no {what} {text}")
    if len(found) > 1:
        more = ", …" if len(found) > CANDIDATES_MAX else ""
        shown = ", ".join(str(one) for one in found[:CANDIDATES_MAX])
        raise UsageError(f"{text} is the beginning of several ids: {shown}{more}; give more of it")
    return found[0]


def id_range(text: str, *, what: str = "event") -> tuple[UUID, UUID]:
    """The first and the last id that begin with ``text``. Raises UsageError when it is not the beginning of one."""
    if not is_beginning_of_id(text):
        raise UsageError(
            f"expected the id of an {what} or at least its first {PREFIX_CHARS_MIN} characters, found {text!r}"
            if what[0] in "aeiou"
            else f"expected the id of a {what} or at least its first {PREFIX_CHARS_MIN} characters, found {text!r}"
        )
    digits = _digits(text)
    return UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))


def is_beginning_of_id(text: str) -> bool:
    """Whether this is an id, or so much of its beginning that one may be looked for by it."""
    digits = _digits(text)
    return _HEX.fullmatch(digits) is not None and PREFIX_CHARS_MIN <= len(digits) <= 32


def _digits(text: str) -> str:
    return text.strip().replace("-", "").lower()


@dataclass(frozen=True, slots=True)
class Target:
    """What an action is about: all deliveries of an event, or one of them. ``rows`` are those deliveries, in order."""

    event_id: UUID
    rows: tuple[Row[Any], ...]


async def find_target(conn: AsyncConnection, text: str) -> Target:
    """The deliveries meant by a delivery's number, an event's id or its beginning. Raises UsageError."""
    if text.isascii() and text.isdigit():
        # The beginning of an id may be all digits too; the number of a delivery goes first.
        # More digits fit into no column, and may still be the beginning of an id.
        number = int(text) if len(text) <= NUMBER_DIGITS_MAX else 0
        row = (await conn.execute(select(t.deliveries).where(t.deliveries.c.id == number))).first()
        if row is not None:
            return Target(row.event_id, (row,))
        if len(text) < PREFIX_CHARS_MIN:
            raise UsageError(f"there is no delivery {text}; expected a delivery's number or an event's id")
    event_id = await find_event(conn, text)
    return Target(event_id, tuple(await deliveries_of(conn, event_id)))


async def deliveries_of(conn: AsyncConnection, event_id: UUID) -> list[Row[Any]]:
    """An event's deliveries in the order of their numbers."""
    seq = select(t.inbox.c.seq).where(t.inbox.c.id == event_id).scalar_subquery()
    query = select(t.deliveries).where(t.deliveries.c.event_seq == seq).order_by(t.deliveries.c.id)
    return list(await conn.execute(query))


async def route_names(conn: AsyncConnection) -> Mapping[int, str]:
    """The name of every route that ever made a delivery, by its number."""
    names = {row.id: row.name for row in await conn.execute(select(t.routes))}
    return names | {UNREADABLE_ROUTE_ID: UNREADABLE}


def bounded(limit: int) -> int:
    """A page's size within what one answer may hold."""
    return max(1, min(limit, LIMIT_MAX))
