"""Column types that mean the same on SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Integer, String, TypeDecorator
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine


class UtcTime(TypeDecorator[datetime]):
    """An instant: ``timestamptz`` on PostgreSQL, sortable ISO-8601 text with microseconds and ``Z`` on SQLite.

    Refuses a time without a zone; returns aware UTC.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(String(27))
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        if dialect.name == "sqlite":
            return utc_text(value)
        return aware(value).astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if isinstance(value, str):
            return datetime.fromisoformat(value)
        if value.tzinfo is None:
            # The driver takes the first and the last instant for infinities, and gives those back without a zone.
            return value.replace(tzinfo=UTC)  # type: ignore[no-any-return]
        return value.astimezone(UTC)  # type: ignore[no-any-return]  # a datetime, as the driver returns it


def utc_text(value: datetime) -> str:
    """A time as SQLite holds it: sorts as it passes. Raises ValueError for one without a zone."""
    # Not strftime, which takes three times as long; and nearly every time is in UTC already.
    in_utc = value if value.tzinfo is UTC else aware(value).astimezone(UTC)
    return in_utc.isoformat(timespec="microseconds")[: -len("+00:00")] + "Z"


def as_time(dialect: str, value: datetime) -> object:
    """A time as each database's driver takes it."""
    return utc_text(value) if dialect == "sqlite" else aware(value)


def aware(value: datetime) -> datetime:
    """The time itself. Raises ValueError for one without a zone, which would mean something else on each machine."""
    if value.tzinfo is None:
        raise ValueError("a time without a zone cannot be stored")
    return value


Json = JSON().with_variant(JSONB(), "postgresql")
"""JSONB on PostgreSQL, JSON text on SQLite."""

BigInt = BigInteger().with_variant(Integer(), "sqlite")
"""64 bits; SQLite wants the word INTEGER for its row key."""
