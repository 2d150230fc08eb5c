"""Pruning by itself: at the instants of a schedule, one replica takes each of them and does the work."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import structlog
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.clock import Clock
from hub.errors import HubError
from hub.retention.metrics import FAILED, LAST_S
from hub.retention.pruning import Pruner, PruneReport
from hub.retention.settings import RetentionSettings
from hub.retention.witness import Witness
from hub.routing import ScheduleConfig
from hub.schedule.instants import due_instants
from hub.signal import is_set_within
from hub.storage import Storage
from hub.store import tables as t
from hub.store.store import Store
from hub.store.upserts import insert_for
from hub.store.words import words_for_logs

NAME = "hub: prune"
"""Its row in ``schedules``; no schedule of routing.yaml can be called so."""
LOOK_S = 10.0

log = structlog.get_logger(__name__)


class Pruning:
    """The loop of one process. An instant belongs to whoever notes it first, so replicas need no leader."""

    def __init__(
        self, store: Store, clock: Clock, settings: RetentionSettings, *, witness: Witness | None = None
    ) -> None:
        assert settings.retention_days is not None
        self._store = store
        self._clock = clock
        self._age = timedelta(days=settings.retention_days)
        self._schedule = ScheduleConfig.model_validate({"cron": settings.prune_schedule, "emit": "hub.prune"})
        self._storage = Storage(settings.archive)
        self._witness = witness

    async def run(self, stopping: asyncio.Event, *, look_s: float = LOOK_S) -> None:
        """Look until the hub stops. What fails is told and tried again at the next instant."""
        while not stopping.is_set():
            try:
                if await self._take_instant():
                    await self._prune(stopping)
            except (HubError, SQLAlchemyError, ValueError, OSError) as error:
                # A row that somebody has damaged must not end the hub, which goes on without pruning.
                FAILED.inc()
                log.error("prune_failed", error=words_for_logs(error))
            await is_set_within(stopping, look_s)

    async def _prune(self, stopping: asyncio.Event) -> None:
        pruner = Pruner(self._store, self._storage, self._clock, witness=self._witness, is_stopping=stopping.is_set)
        report = await pruner.run(self._age)
        LAST_S.set(self._clock.now().timestamp())
        tell(report)

    async def _take_instant(self) -> bool:
        """Whether an instant has come that nobody has taken yet; it is ours now."""
        now = self._clock.now()
        async with self._store.reading() as conn:
            last = await conn.scalar(select(t.schedules.c.last_at).where(t.schedules.c.name == NAME))
        due = [] if last is None else due_instants(self._schedule, after=last, until=now)
        if last is not None and not due:
            return False
        # The first look only notes where to begin.
        instant = due[-1] if due else now

        async def take(conn: AsyncConnection) -> bool:
            new = insert_for(conn.dialect.name, t.schedules).values(name=NAME, last_at=instant)
            later = new.on_conflict_do_update(
                index_elements=["name"],
                set_={"last_at": new.excluded.last_at},
                where=t.schedules.c.last_at < new.excluded.last_at,
            )
            return (await conn.execute(later)).rowcount == 1

        return await self._store.write(take) and bool(due)


def tell(report: PruneReport) -> None:
    """One line about a run that did something, or that was interrupted."""
    if report.events or report.late or not report.is_complete:
        log.info(
            "events_pruned",
            events=report.events,
            late=report.late,
            objects=report.objects,
            bytes=report.bytes,
            kept=dict(report.kept),
            complete=report.is_complete,
        )
