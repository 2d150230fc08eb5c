"""Finding events that have left the tables: by id, sender's id, key or tag. What they were is in the archive alone.

Keys and tags are kept as hashes: enough to find what somebody names in full, and nothing that could be read out.
Source: docs/retention.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, select

from hub.event import stable_hash
from hub.inbox.identity import identity_hash
from hub.operate.events import EventFilter
from hub.operate.lookup import LIMIT, bounded, id_range, is_beginning_of_id
from hub.routing.fields import RESERVED_SOURCES
from hub.store import tables as t
from hub.store.store import Store
from hub.store.tables_archive import archived, archived_names
from hub.texts import is_storable

SEARCHED: Final = frozenset({"event_id", "dedupe_id", "key", "tag"})
"""What the archive is searched by; ``source`` only beside a sender's id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedHit:
    """An event in the archive. ``received_at`` is what its id says: about the time at which it came."""

    id: UUID
    seq: int | None
    received_at: datetime
    state: str = "archived"


def hashes_of(key: str | None, tags: Iterable[tuple[str, str]]) -> Iterator[bytes]:
    """What is kept of an event's key and tags when it leaves the tables."""
    if key is not None:
        yield _key_hash(key)
    for name, value in tags:
        yield _tag_hash(value)
        yield _tag_hash(f"{name}={value}")


def _key_hash(key: str) -> bytes:
    return stable_hash("archived key", key)


def _tag_hash(text: str) -> bytes:
    return stable_hash("archived tag", text)


def may_be_archived(wanted: EventFilter) -> bool:
    """Whether the archive can be asked about this: nothing that it does not know by itself is asked besides."""
    asked = {field.name for field in fields(EventFilter) if getattr(wanted, field.name) is not None}
    return bool(asked) and asked <= SEARCHED | ({"source"} if wanted.dedupe_id is not None else set())


async def list_archived(
    store: Store, wanted: EventFilter, sources: Iterable[str], *, limit: int = LIMIT
) -> Sequence[ArchivedHit]:
    """The newest archived events that meet the filter; none where it asks what the archive is not searched by.

    Raises UsageError for the beginning of an id that is none.
    """
    texts = (wanted.dedupe_id, wanted.key, wanted.tag)
    if not may_be_archived(wanted) or not all(is_storable(text) for text in texts if text is not None):
        return []
    return await _read(store, [_meets(wanted, sources)], limit)


async def find_archived(
    store: Store, text: str, sources: Iterable[str], *, limit: int = LIMIT
) -> Sequence[ArchivedHit]:
    """The newest archived events of which this is the id or its beginning, the sender's id, the key or a tag."""
    text = text.strip()
    if not text or not is_storable(text):
        return []
    ways = [EventFilter(key=text), EventFilter(tag=text), EventFilter(dedupe_id=text)]
    if is_beginning_of_id(text):
        ways.append(EventFilter(event_id=text))
    sources = tuple(sources)
    return await _read(store, [_meets(way, sources) for way in ways], limit)


def _meets(wanted: EventFilter, sources: Iterable[str]) -> ColumnElement[bool]:
    """Of a row of ``archived``, everything that is asked of its event."""
    asked: list[ColumnElement[bool]] = []
    if wanted.event_id is not None:
        asked.append(archived.c.event_id.between(*id_range(wanted.event_id)))
    if wanted.dedupe_id is not None:
        of = (wanted.source,) if wanted.source is not None else (*sources, *RESERVED_SOURCES)
        hashes = [identity_hash(source, wanted.dedupe_id) for source in of]
        asked.append(archived.c.event_id.in_(select(t.identities.c.event_id).where(t.identities.c.id_hash.in_(hashes))))
    if wanted.key is not None:
        asked.append(_is_named(_key_hash(wanted.key)))
    if wanted.tag is not None:
        asked.append(_is_named(_tag_hash(wanted.tag)))
    return and_(*asked)


def _is_named(name_hash: bytes) -> ColumnElement[bool]:
    return archived.c.event_id.in_(select(archived_names.c.event_id).where(archived_names.c.name_hash == name_hash))


async def _read(store: Store, ways: Sequence[ColumnElement[bool]], limit: int) -> Sequence[ArchivedHit]:
    found: dict[UUID, int | None] = {}
    async with store.reading() as conn:
        # One after the other: each goes by its index, as one condition with OR would not.
        for way in ways:
            event_id = archived.c.event_id
            query = select(event_id, func.max(archived.c.event_seq)).where(way).group_by(event_id)
            rows: Any = await conn.execute(query.order_by(event_id.desc()).limit(bounded(limit)))
            found |= {row[0]: row[1] for row in rows}
    return [_hit(event_id, found[event_id]) for event_id in sorted(found, reverse=True)][:limit]


def _hit(event_id: UUID, seq: int | None) -> ArchivedHit:
    return ArchivedHit(id=event_id, seq=seq, received_at=datetime.fromtimestamp((event_id.int >> 80) / 1000, UTC))
