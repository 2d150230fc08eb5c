"""What the seal says when old events are to be archived: only what is sealed may go, and what goes is written down."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.clock import Clock
from hub.seal import tables as s
from hub.seal.kinds import ENDED, SENT
from hub.seal.members import record_pruned, unsealed_among

if TYPE_CHECKING:
    from hub.retention.record import EventRecord

ARCHIVE: Final = "archive"


class SealWitness:
    """Lets events go whose final rows are all sealed. Deliveries that were refused are never sealed, and may go."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def may_prune(self, conn: AsyncConnection, records: Sequence[EventRecord]) -> Sequence[EventRecord]:
        """Those of which nothing is left to be sealed."""
        open_rows: dict[str, set[int]] = {}
        for kind in ("event", "delivery", "call", "message"):
            ids = [number for record in records for number in _final(record, kind)]
            open_rows[kind] = await unsealed_among(conn, kind, ids)
        return [
            record for record in records if not any(set(_final(record, kind)) & ids for kind, ids in open_rows.items())
        ]

    async def pruned(self, conn: AsyncConnection, records: Sequence[EventRecord]) -> None:
        """Write down what was deleted, so that it does not look like tampering."""
        for kind in ("event", "delivery", "call", "message"):
            ids = [number for record in records for number in _all(record, kind)]
            await record_pruned(conn, self._clock, kind, ids, ARCHIVE)
            for start in range(0, len(ids), 1_000):
                some = s.pending.c.id.in_(ids[start : start + 1_000])
                await conn.execute(delete(s.pending).where(s.pending.c.kind == kind, some))


def _final(record: EventRecord, kind: str) -> Iterator[int]:
    """The ids of the rows of this kind that the seal takes."""
    ended = {row["id"] for row in record.of("deliveries") if row["state"] in ENDED}
    match kind:
        case "delivery":
            yield from ended
        case "call":
            yield from (row["delivery_id"] for row in record.of("calls") if row["delivery_id"] in ended)
        case "message":
            yield from (row["seq"] for row in record.of("outbox") if row["state"] in SENT)
        case _:
            # Of an event that is in the archive already, only what came after it is left.
            yield from (row["seq"] for row in record.of("inbox"))


def _all(record: EventRecord, kind: str) -> Iterator[int]:
    match kind:
        case "delivery":
            yield from record.delivery_ids
        case "call":
            yield from sorted({row["delivery_id"] for row in record.of("calls")})
        case "message":
            yield from (row["seq"] for row in record.of("outbox"))
        case _:
            yield from (row["seq"] for row in record.of("inbox"))
