"""Rows as the driver gives them, for the few statements that read hundreds of them for each batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias, cast

from sqlalchemy import CursorResult, Result

PlainRow: TypeAlias = Sequence[Any]
"""The values of a row in the order of the statement's columns."""


def plain_rows(dialect: str, result: Result[Any]) -> Sequence[PlainRow]:
    """All rows, to be unpacked; of numbers, texts, booleans, UUIDs and bytes alone, which drivers read as they are.

    An object of SQLAlchemy's for each row, and the names of its columns, take longer than all else that is done with
    it. SQLite keeps UUIDs and booleans as something else, so its rows are read by their types.
    """
    if dialect != "postgresql":
        return result.all()
    cursor = cast(CursorResult[Any], result).cursor
    assert cursor is not None, "a statement that answers rows has a cursor until they are read"
    rows: Sequence[PlainRow] = cursor.fetchall()
    result.close()
    return rows
