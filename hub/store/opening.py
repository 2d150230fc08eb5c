"""The first statement of a transaction, sent together with its BEGIN: one way to the server and back, and not two.

Only for statements without values from outside: such a pair goes in PostgreSQL's simple protocol, which has no
parameters.
"""

from __future__ import annotations

from typing import Any, Final, cast

from asyncpg.transaction import Transaction, TransactionState
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.store.direct import _changed, _fail, _heard

_BEGINS: Final = {None: "BEGIN", "read_committed": "BEGIN ISOLATION LEVEL READ COMMITTED"}
"""How the transactions begin that write; any other begins by itself."""


async def begin_with(conn: AsyncConnection, statement: str, *, known_as: str) -> int:
    """Run one of PostgreSQL's statements, and begin its transaction where that has not happened; how many rows it has.

    Listeners hear of it as ``known_as``, without the numbers that are written into it. Raises DBAPIError.
    """
    sync = _heard(conn, known_as, ())
    adapted = cast(Any, sync.connection.dbapi_connection)
    try:
        async with adapted._execute_mutex:
            begin = None if adapted.readonly or adapted.deferrable else _BEGINS.get(adapted.isolation_level)
            if adapted._transaction is None and begin is not None:
                # Told first: where the statement is refused, SQLAlchemy rolls back what has begun.
                adapted._transaction = transaction = _Begun(adapted._connection, None, False, False)
                return _changed(await transaction.start_with(begin, statement))
            if adapted._transaction is None:
                await adapted._start_transaction()
            return _changed(await adapted._connection.execute(statement))
    except BaseException as error:
        await _fail(conn, adapted, error, known_as)


class _Begun(Transaction):  # type: ignore[misc]
    """The driver's transaction, begun with a statement in tow; it ends like any other."""

    async def start_with(self, begin: str, statement: str) -> str:
        """Answers the server's word for the statement."""
        self._connection._top_xact = self
        self._state = TransactionState.STARTED
        return cast(str, await self._connection.execute(f"{begin};{statement}"))
