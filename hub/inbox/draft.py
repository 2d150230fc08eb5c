"""A draft: an event that has been read and routed, and waits to be accepted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from hub.event import Event
from hub.inbox.doubt import Doubt
from hub.routing.router import RouteMatch


# Not frozen, which would take several times as long to make: there is one for each event, and nobody changes it.
@dataclass(slots=True)
class Draft:
    """One event on its way into the inbox.

    ``id_hash`` is None when the message has no identity of its own. ``problem`` says why it could not be read; such an
    event has no matches and is parked. ``cause`` is the event whose handler emitted this one; ``doubt`` is what may
    recognise a message without an id.
    """

    event: Event
    matches: Sequence[RouteMatch]
    id_hash: bytes | None = None
    same_hash: bytes = b""
    problem: str = ""
    cause: UUID | None = None
    doubt: Doubt | None = None

    def numbered(self, seq: int) -> Draft:
        """With its place in the order of acceptance."""
        # In place: a draft is nobody else's yet, and copies of it and its event would take longer than to read them.
        object.__setattr__(self.event, "seq", seq)
        return self
