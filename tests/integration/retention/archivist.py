"""Whoever lets events grow old, prunes them and looks at what is left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from hub.event import uuid7
from hub.operate.equation import EquationReport, check
from hub.operate.event_view import EventDetails
from hub.retention.archive import Archive
from hub.retention.pruning import Pruner, PruneReport
from hub.retention.record import PARTS
from hub.storage import Storage
from hub.store import tables as t
from hub.store.tables_archive import archived
from tests.integration.operate.desk import Desk

AGE = timedelta(days=90)
OLD_S = 100 * 86_400.0


@dataclass(frozen=True)
class Archivist:
    desk: Desk
    folder: Path
    storage: Storage

    @property
    def archive(self) -> Archive:
        return Archive(self.desk.store, self.storage)

    def objects(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file())

    def pruner(self, storage: Storage | None = None, **more: Any) -> Pruner:
        return Pruner(self.desk.store, storage or self.storage, self.desk.clock, **more)

    async def prune(self, storage: Storage | None = None, **more: Any) -> PruneReport:
        return await self.pruner(storage, **more).run(AGE)

    async def finished(self, number: int, **fields: Any) -> UUID:
        """An event whose deliveries are done."""
        event = await self.desk.event(number, **fields)
        await self.desk.put(event, "done", outcome="done")
        return event

    async def storied(self, number: int = 1) -> UUID:
        """A finished event with everything that an event can have."""
        desk, now = self.desk, self.desk.clock.now()
        body = {"id": f"order-{number}", "type": "order.paid", "key": "customer-1", "amount": 50, "phone": "09"}
        [accepted] = await desk.accept(body)
        await desk.accept(body, {**body, "amount": 51}, {**body})
        event = accepted.event_id
        await desk.put(event, "done", outcome="done")
        first, second = [row.id for row in await desk.deliveries(event)]
        await desk.change(t.conflicts, t.conflicts.c.event_id == event, state="resolved", note="ours holds")
        await desk.add(
            t.attempts, {"id": uuid7(), "delivery_id": first, "started_at": now, "duration_ms": 1.5, "error": "é"}
        )
        await desk.add(t.calls, call_of(first, now, "settled", outcome={"paid": 12, "nested": [1.5, None]}))
        await desk.add(t.outbox, message_of(second, event, now, number=number, state="sent"))
        await desk.add(t.reviews, review_of(second, event, now, state="resolved"))
        await desk.add(t.tags, {"name": "order_code", "value": f"ORD{number}", "event_id": event})
        correction = {"number": 1, "payload": b"{\x00}", "corrected_by": "ann", "reason": "typo", "corrected_at": now}
        await desk.add(t.corrections, {"event_id": event, **correction})
        return event

    def grow_old(self) -> None:
        self.desk.clock.advance(OLD_S)

    async def rows(self) -> Mapping[str, int]:
        """How many rows events have, by part; those without any left out."""
        found = {name: len(await self.desk.rows(part.table)) for name, part in PARTS.items()}
        return {name: count for name, count in found.items() if count}

    async def archived(self) -> list[UUID]:
        return [row.event_id for row in await self.desk.rows(archived)]

    async def shown(self, event: UUID) -> EventDetails:
        return replace(await self.archive.show(event, self.desk.sources), archived_in=())

    async def check(self) -> EquationReport:
        return await check(self.desk.store)


def call_of(delivery_id: int, at: Any, state: str, **more: Any) -> dict[str, Any]:
    settled = None if state in ("started", "pending", "unknown") else at
    row = {"delivery_id": delivery_id, "step": "give", "number": 1, "provider": "bank", "key": "k", "lookups": 0}
    return {**row, "request_hash": b"h" * 16, "state": state, "started_at": at, "settled_at": settled, **more}


def message_of(delivery_id: int, event: UUID, at: Any, *, number: int, state: str) -> dict[str, Any]:
    row = {"seq": 1_000 + number, "message_id": f"m{number}", "delivery_id": delivery_id, "event_id": event}
    sent = {"state": state, "attempts": 1, "created_at": at, "sent_at": at if state == "sent" else None}
    content = {"content_type": "application/json", "payload": b"{}", "headers": {"a": "b"}}
    return {**row, "destination": "shop", "routing_key": "x", "lane": 1, "chain": 5, **content, **sent}


def review_of(delivery_id: int, event: UUID, at: Any, *, state: str) -> dict[str, Any]:
    row = {"delivery_id": delivery_id, "event_id": event, "outcome": "odd", "reason": "look", "created_at": at}
    return {**row, "state": state, "resolved_at": at if state == "resolved" else None}
