"""The sweep: compares what the cursors have passed with what is sealed, and so finds whatever came late."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.seal import tables as s
from hub.seal.finding import COMPANIONS
from hub.seal.kinds import KINDS, RowReader, readers_of
from hub.seal.members import note_pending, sealed_between
from hub.store.store import Store

SWEEP_CHUNK: Final = 2_000

log = structlog.get_logger(__name__)


class Sweep:
    """Goes through all rows that the cursors have passed, again and again."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._readers = readers_of(store.dialect)
        self._at: dict[str, int] = {}

    async def step(self) -> bool:
        """Compare some rows that the cursors have passed with what is sealed; False once all have been looked at.

        What is final and was overlooked is written down, to be sealed in one of the next blocks.
        """
        async with self._store.reading() as conn:
            positions = {row.kind: row.position for row in await conn.execute(select(s.cursors))}
            for kind in KINDS:
                found = await self._of_kind(conn, kind, positions)
                if found is not None:
                    break
            else:
                self._at.clear()
                return False
        if found:
            log.warning("seal_overlooked", kind=kind, count=len(found))
            await self._store.write(lambda conn: note_pending(conn, kind, found))
        return True

    async def _of_kind(self, conn: AsyncConnection, kind: str, positions: Mapping[str, int]) -> list[int] | None:
        """Ids that were overlooked among the next rows of this kind; None where there are no more rows."""
        reader, low = self._readers[kind], self._at.get(kind, 0)
        bound = positions.get(cursor_of(kind), 0)
        rows = await _ids_after(conn, reader, kind, low, bound)
        if not rows:
            return None
        high = rows[-1][0]
        self._at[kind] = high
        sealed = await sealed_between(conn, kind, rows[0][0], high)
        # A call is looked at with its delivery.
        kinds = (kind, "delivery") if kind == "call" else (kind,)
        query = select(s.pending.c.id).where(s.pending.c.kind.in_(kinds), s.pending.c.id.between(rows[0][0], high))
        noted = set((await conn.scalars(query)).all())
        return sorted({number for number, key in rows if (number, key) not in sealed and number not in noted})


def cursor_of(kind: str) -> str:
    """The kind whose cursor says how far this one has been sealed."""
    return next((leader for leader, (companion, _) in COMPANIONS.items() if companion == kind), kind)


def passed(kind: str, position: int) -> str:
    """The condition on final rows of a kind that its cursor has passed, as SQL."""
    # Moves are bounded by their entries.
    column = next((column for companion, column in COMPANIONS.values() if companion == kind), KINDS[kind].id)
    return f't."{column}" <= {position:d} AND {KINDS[kind].final}'


async def _ids_after(
    conn: AsyncConnection, reader: RowReader, kind: str, low: int, bound: int
) -> list[tuple[int, str]]:
    """Ids and keys of the next final rows, whole ids only."""
    of = KINDS[kind]
    names = ", ".join(f't."{name}"' for name in (of.id, *of.key))
    where = f't."{of.id}" > {low:d} AND {passed(kind, bound)}'
    # S608: names of our own tables and columns, and numbers.
    query = f'SELECT {names} FROM "{of.table.name}" AS t WHERE {where} ORDER BY {of.order} LIMIT {SWEEP_CHUNK}'  # noqa: S608
    rows = [(row[0], "#".join(map(str, row[1:]))) for row in await conn.exec_driver_sql(query)]
    if len(rows) == SWEEP_CHUNK and rows[0][0] != rows[-1][0]:
        # The last one may have more keys than were read.
        rows = [row for row in rows if row[0] != rows[-1][0]]
    return rows
