"""One statement that is a transaction by itself: PostgreSQL begins and commits it as it runs it.

A BEGIN and a COMMIT of their own are two more ways to the server and back, and cost more than a small statement. Only
for statements that need nothing else of their transaction: no fence, no second look at the same moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias, cast

from sqlalchemy.ext.asyncio import AsyncConnection

from hub.store.direct import Direct, _fail, _heard, _prepared
from hub.store.plain import PlainRow
from hub.store.store import Store, run_again


async def read_alone(store: Store, statement: Direct, *values: Any) -> Sequence[PlainRow]:
    """What a SELECT answers. Raises StoreUnavailableError."""
    if store.dialect != "postgresql":
        async with store.reading() as conn:
            return await statement.rows(conn, *values)
    return await _alone(store, statement, values)


Source: TypeAlias = Store | AsyncConnection
"""Where to read: in a transaction, or each statement alone."""


async def read_from(source: Source, statement: Direct, *values: Any) -> Sequence[PlainRow]:
    """What a SELECT answers, in this transaction or alone. Raises DBAPIError or StoreUnavailableError."""
    if isinstance(source, Store):
        return await read_alone(source, statement, *values)
    return await statement.rows(source, *values)


def dialect_of(source: Source) -> str:
    """The name of its database's dialect."""
    return source.dialect if isinstance(source, Store) else source.dialect.name


async def write_alone(store: Store, statement: Direct, *values: Any) -> Sequence[PlainRow]:
    """What a statement answers that changes something, once it is committed. Raises StoreUnavailableError."""
    if store.dialect != "postgresql":
        return await store.write(lambda conn: statement.rows(conn, *values), may_share=True)
    return await _alone(store, statement, values)


async def _alone(store: Store, statement: Direct, values: Sequence[Any]) -> Sequence[PlainRow]:
    async def run() -> Sequence[PlainRow]:
        async with store.writer.connect() as conn:
            if _adapted(conn)._prepared_statement_cache is not None:
                return await rows_at_once(conn, statement, *values)
            # A pooler may have the statement prepared on one connection of the server and run on another, but for a
            # transaction around both.
            async with conn.begin():
                return await statement.rows(conn, *values)

    return await run_again(run)


async def rows_at_once(conn: AsyncConnection, statement: Direct, *values: Any) -> Sequence[PlainRow]:
    """What a statement of PostgreSQL answers: committed, unless a transaction has begun. Raises DBAPIError.

    None has begun on a connection on which no statement has run, but for that of a pooler.
    """
    adapted = _adapted(conn)
    if adapted._transaction is not None:
        return await statement.rows(conn, *values)
    text = statement._postgresql
    sync = _heard(conn, text, values)
    try:
        async with adapted._execute_mutex:
            prepared = await _prepared(sync, adapted, text)
            return cast(Sequence[PlainRow], await prepared.fetch(*values))
    except BaseException as error:
        await _fail(conn, adapted, error, text)


def _adapted(conn: AsyncConnection) -> Any:
    sync = conn.sync_connection
    assert sync is not None, "a statement needs a connection that was begun"
    return sync.connection.dbapi_connection
