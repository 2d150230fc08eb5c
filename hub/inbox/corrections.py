"""What a person made of an event's payload; the inbox keeps what came."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import ColumnElement, ScalarSelect, select

from hub.store import tables as t


def latest_correction(event_id: ColumnElement[UUID] | UUID) -> ScalarSelect[bytes]:
    """The payload that stands in the place of this event's own; NULL where nobody has corrected it."""
    of_event = select(t.corrections.c.payload).where(t.corrections.c.event_id == event_id)
    return of_event.order_by(t.corrections.c.number.desc()).limit(1).scalar_subquery()
