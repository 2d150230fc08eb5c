"""Pruning as the settings want it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from hub.clock import Clock
from hub.retention.record import EventRecord
from hub.retention.witness import NoWitness, Witness
from hub.seal.witness import SealWitness
from hub.settings import Settings


def witness_of(settings: Settings, clock: Clock) -> Witness:
    """The seal, which lets go only what it has sealed; where it is off, it still hears of what leaves."""
    seal = SealWitness(clock)
    return seal if settings.seal_s is not None else _Told(seal)


class _Told(NoWitness):
    """What was sealed before sealing was switched off must not look as if somebody had tampered with it."""

    def __init__(self, seal: Witness) -> None:
        self._seal = seal

    async def pruned(self, conn: AsyncConnection, records: Sequence[EventRecord]) -> None:
        """As the seal wants it."""
        await self._seal.pruned(conn, records)
