"""One field for everything: an event found by whatever somebody has in hand, each way by an index."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select

from hub.inbox.identity import identity_hash
from hub.operate.events import EventFilter, EventSummary, list_events
from hub.operate.lookup import LIMIT, is_beginning_of_id
from hub.routing.fields import RESERVED_SOURCES
from hub.store import tables as t
from hub.store.store import Store
from hub.texts import is_storable

TEXT_CHARS_MAX: Final = 500
_TRACE = re.compile(r"[0-9a-f]{32}|[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(frozen=True, slots=True)
class Found:
    """An event, and by what it was found."""

    event: EventSummary
    by: str


async def find_events(store: Store, text: str, sources: Iterable[str], *, limit: int = LIMIT) -> Sequence[Found]:
    """Events of which this is the id or its beginning, the trace, the key, the sender's id or a tag; newest first."""
    text = text.strip()[:TEXT_CHARS_MAX]
    if not text or not is_storable(text):
        return []
    ways: dict[str, EventFilter] = {"tag": EventFilter(tag=text), "key": EventFilter(key=text)}
    plain = text.lower()
    if _TRACE.fullmatch(plain):
        ways["trace"] = EventFilter(trace=plain)
    if is_beginning_of_id(plain):
        ways["id"] = EventFilter(event_id=plain)
    held = await _held(store, text, sources)
    ways |= {f"id of the sender, {source}": EventFilter(event_id=event_id) for source, event_id in held.items()}
    pages = await asyncio.gather(*(list_events(store, wanted, limit=limit) for wanted in ways.values()))
    found: dict[int, Found] = {}
    for way, page in zip(ways, pages, strict=True):
        for event in page.events:
            found.setdefault(event.seq, Found(event, way))
    return [found[seq] for seq in sorted(found, reverse=True)][:limit]


async def _held(store: Store, dedupe_id: str, sources: Iterable[str]) -> Mapping[str, str]:
    """The events that hold this id of a sender, by the source that it came from."""
    hashes = {identity_hash(source, dedupe_id): source for source in (*sources, *RESERVED_SOURCES)}
    query = select(t.identities.c.id_hash, t.identities.c.event_id).where(t.identities.c.id_hash.in_(hashes))
    async with store.reading() as conn:
        return {hashes[row.id_hash]: str(row.event_id) for row in await conn.execute(query)}
