"""By what a repeat of an event would be recognised, and whether the hub has met it before."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.errors import UnreadableError
from hub.event import Event, Verdict
from hub.explain.model import Identity, IdentityStatus, UnreadableProblem, Verification
from hub.inbox.draft import Draft
from hub.inbox.drafting import COMMAND, INTERNAL, TIMER
from hub.routing import IdExtractor, Message, SourceConfig
from hub.store import tables as t

BY_HAND: Final = Verification(None, "not verified: given by hand")
MADE_HERE: Final[Mapping[str, str]] = {
    INTERNAL: "the handler that emitted it",
    TIMER: "the handler that set the timer",
    COMMAND: "the command's own id",
}
_PLACE: Final = re.compile(r"line (\d+), column (\d+): (.*)", re.DOTALL)
_FIELD: Final = re.compile(r"([A-Za-z_][\w.\-\[\]]*): (.*)", re.DOTALL)


def verification_of(event: Event, source: SourceConfig | None) -> Verification:
    """How the sender of a stored event was proven."""
    match event.verdict:
        case Verdict.VALID:
            scheme = source.webhook.auth.scheme if source is not None and source.webhook is not None else None
            how = f"accepted by the scheme {scheme}" if scheme is not None else "accepted by its source's scheme"
        case Verdict.TRUSTED:
            how = "trusted: made by the hub or an operator, or read from a queue that needs a login"
        case Verdict.NONE:
            how = "nobody proved it: its source allows that by an explicit switch"
        case Verdict.UNDECIDED:
            how = "undecided when it came: a handler proves it"
        case Verdict.SIMULATED:
            how = "came from a provider's simulator"
    return Verification(str(event.verdict), how)


async def identity_of_draft(conn: AsyncConnection, draft: Draft, source: SourceConfig | None) -> Identity:
    """What the inbox would say to this message: new, or a repeat of an event that it has."""
    event = draft.event
    taken_from = taken_from_of(event, source)
    if draft.problem:
        # What a webhook's sender repeats is known by its bytes; a queue's message that comes again is another one.
        taken_from = "the bytes of the body" if draft.id_hash is not None else "nothing: it cannot be read"
    if draft.id_hash is None:
        return Identity("none", event.dedupe_id, taken_from)
    query = select(t.identities).where(t.identities.c.id_hash == draft.id_hash)
    holder = (await conn.execute(query)).first()
    if holder is None:
        return Identity("new", event.dedupe_id, taken_from)
    status: IdentityStatus = "duplicate" if holder.same_hash == draft.same_hash else "conflict"
    return Identity(status, event.dedupe_id, taken_from, holder.event_id)


def taken_from_of(event: Event, source: SourceConfig | None) -> str:
    """The paths of the source's ``id:`` that gave the dedupe id, as today's routing.yaml has them."""
    if event.dedupe_id is None:
        return _why_none(event, source)
    if source is None:
        return MADE_HERE.get(event.source, "the instant of its schedule" if "." in event.source else "its source")
    try:
        message = Message(event.data, event.headers, _properties(event))
    except UnreadableError:
        return "the bytes of the body"
    for parts in source.event.id:
        if IdExtractor([parts]).dedupe_id(event.type, message, event.payload) == event.dedupe_id:
            return " + ".join(parts)
    return "rules of routing.yaml that have changed since"


def _why_none(event: Event, source: SourceConfig | None) -> str:
    if source is not None and source.event.without_identity is not None:
        return "nothing: its source's without_identity holds, or none of its id paths is present"
    if source is not None and source.event.id:
        return "nothing: none of its source's id paths is present, so it is an event of its own"
    return "nothing: its source has no id, so every message is an event of its own"


def _properties(event: Event) -> dict[str, str]:
    return {"message_id": event.message_id, "routing_key": event.routing_key}


def problem_of_text(text: str) -> UnreadableProblem | None:
    """The place in a problem's text: the inbox keeps the text alone."""
    if not text:
        return None
    if place := _PLACE.fullmatch(text):
        return UnreadableProblem(text, line=int(place[1]), column=int(place[2]))
    if named := _FIELD.fullmatch(text):
        return UnreadableProblem(text, field=named[1])
    return UnreadableProblem(text)
