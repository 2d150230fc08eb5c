"""Who must agree before an event leaves the tables, and is told of what left them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from hub.retention.record import EventRecord


class Witness(Protocol):
    """One who keeps its own account of rows, as a seal does."""

    async def may_prune(self, conn: AsyncConnection, records: Sequence[EventRecord]) -> Sequence[EventRecord]:
        """Those that may go, of these events with all their rows."""
        ...

    async def pruned(self, conn: AsyncConnection, records: Sequence[EventRecord]) -> None:
        """These have just been deleted, in this transaction."""
        ...


class NoWitness:
    """Everything may go, and nobody keeps an account."""

    async def may_prune(self, conn: AsyncConnection, records: Sequence[EventRecord]) -> Sequence[EventRecord]:
        """All of them."""
        return records

    async def pruned(self, conn: AsyncConnection, records: Sequence[EventRecord]) -> None:
        """Nothing to do."""
