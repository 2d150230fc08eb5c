"""``INSERT … ON CONFLICT``, which both databases spell alike and SQLAlchemy keeps in each dialect's own package."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql

if TYPE_CHECKING:
    from sqlalchemy.orm import DeclarativeBase


def insert_for(dialect: str, table: Table | type[DeclarativeBase]) -> postgresql.Insert:
    """An insert into ``table`` that may say what happens where a row is there already.

    Of what PostgreSQL's insert can do, only what SQLite's can do as well may be used.
    """
    if dialect == "postgresql":
        return postgresql.insert(table)
    # Loaded where it is used: half a megabyte that a process on PostgreSQL never needs.
    from sqlalchemy.dialects import sqlite  # noqa: PLC0415

    return cast(postgresql.Insert, sqlite.insert(table))
