"""Sessions of the object-relational part of SQLAlchemy, which is loaded with the first of them: 6 MB."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession


def open_session(conn: AsyncConnection, **how: Any) -> AsyncSession:
    """A session in the transaction of this connection, whose objects stay readable after it."""
    from sqlalchemy.ext.asyncio import AsyncSession  # noqa: PLC0415 - a hub that only routes never has one

    return AsyncSession(bind=conn, expire_on_commit=False, **how)
