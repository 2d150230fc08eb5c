"""An event that has left the tables: what the archive holds of it, and its proof."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from hub.console.visit import Visit
from hub.deliver.work import event_of
from hub.errors import UsageError
from hub.explain.identity import taken_from_of, verification_of
from hub.operate.event_details import details_of
from hub.operate.event_view import EventDetails
from hub.operate.reading import load_event
from hub.prove.document import Json, proof_in
from hub.prove.offline import Finding, judge


@dataclass(frozen=True, slots=True)
class ArchivedView:
    """The event as it was shown while it was in the tables, and each step of its proof."""

    event: EventDetails
    verification: str
    taken_from: str
    proof: Sequence[Finding]


async def view_archived(visit: Visit, event_id: UUID) -> ArchivedView:
    """Read it from the archive. Raises StorageError, ObjectLostError."""
    hub = visit.hub
    sources = hub.wiring.config.sources

    async def look(conn: AsyncConnection) -> tuple[ArchivedView, Json | str]:
        event = event_of(await load_event(conn, event_id))
        source = sources.get(event.source)
        details = await details_of(conn, event_id, sources)
        view = ArchivedView(details, verification_of(event, source).how, taken_from_of(event, source), ())
        try:
            return view, await proof_in(conn, event_id, now=hub.clock.now())
        except UsageError as error:
            return view, str(error)

    where, (view, proof) = await hub.archive.look(event_id, look)
    found = [Finding("proof", ok=False, detail=proof)] if isinstance(proof, str) else await _judged(proof)
    return replace(view, event=replace(view.event, archived_in=where), proof=found)


async def _judged(proof: Json) -> Sequence[Finding]:
    # Thousands of hashes where the event has thousands of rows: others are served meanwhile.
    return await asyncio.to_thread(judge, proof)
