"""Reading and routing a stored event again, by the rules of today."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy import Row, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.clock import Clock
from hub.errors import UnreadableError, UsageError
from hub.event import Event, Verdict, delivery_id_of
from hub.inbox.corrections import latest_correction
from hub.inbox.draft import Draft
from hub.inbox.drafting import Drafter
from hub.inbox.received import Received
from hub.inbox.rows import UNREADABLE_ROUTE_ID, store_reread
from hub.jsonbody import parse_json
from hub.operate.lookup import ArchivedError
from hub.routing import RouteMatch
from hub.seal.members import note_late
from hub.store import tables as t

CORRECTED = "corrected"
"""Outcome of the pseudo delivery of an event that could not be read, once it could."""


@dataclass(frozen=True, slots=True)
class TodaysRules:
    """The rules of routing.yaml as it is now, with the number of each of its routes."""

    drafter: Drafter
    route_ids: Mapping[str, int]

    def read(self, stored: Row[Any], payload: bytes) -> Draft:
        """The stored event with this payload, read as if it came now; its id, number and time of receipt stay.

        Raises UsageError when it still cannot be read, or when the hub made it itself.
        """
        if stored.source not in self.drafter.sources:
            raise UsageError(
                f"event {stored.id} cannot be read again: routing.yaml declares no source {stored.source!r};"
                " discard it, or declare the source"
            )
        draft = self.drafter.draft(_received(stored, payload))
        if draft.problem:
            raise UsageError(f"event {stored.id} still cannot be read: {draft.problem}")
        said_when = draft.event.occurred_at != draft.event.received_at
        event = replace(
            draft.event,
            id=stored.id,
            seq=stored.seq,
            received_at=stored.received_at,
            occurred_at=draft.event.occurred_at if said_when else stored.occurred_at,
        )
        return replace(draft, event=event)

    def matches(self, event: Event) -> list[RouteMatch]:
        """The routes that take this event today."""
        return self.drafter.router.route(event)

    def refuse_unreadable(self, stored: Row[Any], payload: bytes) -> None:
        """Raise UsageError when handlers could not read this payload in place of the event's own."""
        if stored.source in self.drafter.sources:
            self.read(stored, payload)
            return
        try:
            parse_json(payload)
        except UnreadableError as error:
            raise UsageError(f"the corrected payload cannot be read: {error}") from error


async def load_event(conn: AsyncConnection, event_id: UUID, *, lock: bool = False) -> Row[Any]:
    """The stored event with ``corrected``, the latest payload that a person gave it (None without one).

    With ``lock``, two who act on one event take turns, also while no worker runs. Raises ArchivedError.
    """
    query = select(t.inbox, t.inbox.c.id.label("event_id"), latest_correction(event_id).label("corrected"))
    query = query.where(t.inbox.c.id == event_id)
    row = (await conn.execute(query.with_for_update() if lock else query)).first()
    if row is None:
        # It was there when its id was looked up, and was taken out in between.
        raise ArchivedError(event_id)
    return row


async def accept_reread(conn: AsyncConnection, clock: Clock, draft: Draft, route_ids: Mapping[str, int]) -> None:
    """Let an event that could not be read go on as one that can. Raises UsageError; the caller then rolls back.

    The pseudo delivery that stood for it is done, so that the event counts as what its real deliveries become.
    """
    holder = await store_reread(conn, draft, route_ids)
    if holder is not None:
        raise UsageError(
            f"the identity of event {draft.event.id} as it reads now (source {draft.event.source},"
            f" dedupe id {draft.event.dedupe_id}) belongs to event {holder}: it is a repeat, discard it"
        )
    made = [delivery_id_of(draft.event.seq, route_ids[match.route.name]) for match in draft.matches]
    await note_late(conn, "delivery", made)
    pseudo = (t.deliveries.c.event_seq == draft.event.seq) & (t.deliveries.c.route_id == UNREADABLE_ROUTE_ID)
    ended = {"state": "done", "outcome": CORRECTED, "finished_at": clock.now(), "next_at": None}
    changed = await conn.execute(update(t.deliveries).where(pseudo, t.deliveries.c.state == "parked").values(ended))
    if changed.rowcount != 1:
        raise UsageError(f"event {draft.event.id} is not parked as unreadable any more")


def _received(stored: Row[Any], payload: bytes) -> Received:
    return Received(
        source=stored.source,
        body=payload,
        content_type=stored.content_type,
        headers=stored.headers,
        routing_key=stored.routing_key,
        message_id=stored.message_id,
        verdict=Verdict(stored.verdict),
        traceparent=stored.traceparent,
    )
