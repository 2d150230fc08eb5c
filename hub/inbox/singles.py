"""Messages that have nothing to do with each other, in one statement that is its own transaction.

A small group costs what its statements and their way to the database and back cost: numbers, identities, events,
deliveries and the count are one each, and ``BEGIN`` and ``COMMIT`` are two more. Here they are one, on PostgreSQL.
A message that was accepted before is a duplicate in the same statement: senders repeat themselves, and one in a hundred
would cost every other group a second transaction. What it leaves is left to ``rows.py``, and of it nothing
but numbers is used: a message whose identity was claimed meanwhile, or by other content, and every message that is more
than one row of each kind.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from hub.event import ROUTE_BITS, chain_of
from hub.inbox.draft import Draft
from hub.store.alone import rows_at_once
from hub.store.bulk import of_row, shortened
from hub.store.direct import Direct
from hub.store.types import aware

SINGLES_MAX = 100
"""Beyond it, what the statements cost beside their rows does not count, and the joins of this one would."""


def is_single(draft: Draft) -> bool:
    """One event with an identity and ready deliveries; nothing to park, to wait behind, or to be in doubt about."""
    event = draft.event
    has_more = draft.problem or draft.cause is not None or draft.doubt is not None or event.after or event.hops
    return draft.id_hash is not None and not has_more


def values_of(drafts: Sequence[Draft], *, route_ids: Mapping[str, int], slot: int) -> Sequence[Any]:
    """What ``store_singles`` takes. It may raise anything for a draft that cannot be written."""
    events = [list(column) for column in zip(*map(_event_record, drafts), strict=True)]
    deliveries = [
        (place, route_id, chain_of(route_id, draft.event.chain_key), match.error is not None)
        for place, draft in enumerate(drafts, start=1)
        for match in draft.matches
        for route_id in (route_ids[match.route.name],)
    ]
    if not deliveries:
        return (events[0], *map(shortened, events[1:]), (), (), (), (), slot)
    places, *others = zip(*deliveries, strict=True)
    return (events[0], *map(shortened, events[1:]), places, *map(shortened, others), slot)


class Stored(NamedTuple):
    """The draft at this place has this number."""

    place: int
    number: int


class Repeated(NamedTuple):
    """The draft at this place repeats what the event ``first`` was accepted with."""

    place: int
    first: UUID


Single: TypeAlias = Stored | Repeated
"""What became of one draft."""


async def store_singles(conn: AsyncConnection, values: Sequence[Any]) -> list[Single]:
    """Store those whose identity nobody holds, and repeats of what was accepted before, and commit: by their place.

    Of several with one identity the first is stored. Nothing else may be done in this transaction: it is over. Whatever
    is raised but by the database or for a value that it cannot take, they may be stored.
    """
    rows = await rows_at_once(conn, _STORE, *values)
    return [
        Stored(place - 1, number) if number is not None else Repeated(place - 1, first)
        for place, number, first in sorted(rows, key=itemgetter(0))
    ]


def _event_record(draft: Draft) -> tuple[Any, ...]:
    event = draft.event
    return (
        event.id,
        draft.id_hash,
        draft.same_hash,
        event.source,
        event.type,
        event.key,
        event.dedupe_id,
        event.routing_key,
        event.message_id,
        # A time costs the driver as much as two texts, and most events say none of their own.
        aware(event.occurred_at) if event.occurred_at is not event.received_at else None,
        aware(event.received_at),
        event.content_type,
        event.payload,
        json.dumps(dict(event.headers)) if event.headers else "{}",
        event.traceparent,
        event.verdict,
        len(draft.matches),
        event.lane,
    )


_KINDS = {
    "id": "uuid",
    "id_hash": "bytea",
    "same_hash": "bytea",
    "source": "text",
    "type": "text",
    "key": "text",
    "dedupe_id": "text",
    "routing_key": "text",
    "message_id": "text",
    "occurred_at": "timestamptz",
    "received_at": "timestamptz",
    "content_type": "text",
    "payload": "bytea",
    "headers": "text",
    "traceparent": "text",
    "verdict": "text",
    "matches": "smallint",
    "lane": "smallint",
}


def _statement() -> str:
    arrays = {name: f"${number}::{kind}[]" for number, (name, kind) in enumerate(_KINDS.items(), start=1)}
    names = ", ".join(f'"{name}"' for name in arrays)
    # The first column counts the rows, and is always there as a whole.
    values = ['"new".id']
    for name, array in list(arrays.items())[1:]:
        value = of_row(f'"new"."{name}"', array)
        values.append(f'{value} AS "{name}"')
    first = len(arrays) + 1
    place, route, chain, unsure = (
        f"${number}::{kind}[]" for number, kind in enumerate(("bigint", "integer", "bigint", "boolean"), start=first)
    )
    slot = f"${first + 4}::integer"
    stored = [name for name in arrays if name not in ("id_hash", "same_hash", "headers", "lane")]
    columns = ", ".join(f'"{name}"' for name in stored)
    stored_values = columns.replace('"occurred_at"', 'coalesce("occurred_at", "received_at")')
    # Numbers are drawn in the order of arrival, and before an identity may have to be waited for: each sorts all of
    # ``new`` first. Identities and totals are taken in one order by everybody, so that nobody waits in a ring: sources
    # by code point, as ``rows.py`` sorts them, whatever the language of the database. Who holds an identity is looked
    # up by order, and not by equality: on a small table the planner would read all of it, and keep that plan while it
    # grows. Who holds it since this statement began is not seen, and left.
    return f"""\
WITH "new" AS MATERIALIZED (
  SELECT nextval('inbox_seq'::regclass) AS seq, "new".place, {", ".join(values)}
  FROM unnest({", ".join(arrays.values())}) WITH ORDINALITY AS "new" ({names}, place)
), claimed AS (
  INSERT INTO identities (id_hash, same_hash, event_id)
  SELECT id_hash, same_hash, id FROM "new" ORDER BY id_hash, seq ON CONFLICT DO NOTHING RETURNING event_id
), won AS MATERIALIZED (
  SELECT "new".* FROM "new" JOIN claimed ON claimed.event_id = "new".id
), repeated AS MATERIALIZED (
  SELECT "new".place, "new".id, "new".source, "new".received_at, held.event_id
  FROM "new" JOIN LATERAL (
    SELECT id_hash, same_hash, event_id FROM identities WHERE identities.id_hash >= "new".id_hash
    ORDER BY identities.id_hash LIMIT 1
  ) AS held ON held.id_hash = "new".id_hash AND held.same_hash = "new".same_hash
  WHERE NOT EXISTS (SELECT FROM claimed WHERE claimed.event_id = "new".id)
), noted AS (
  INSERT INTO duplicates (id, source, event_id, received_at) SELECT id, source, event_id, received_at FROM repeated
), stored AS (
  INSERT INTO inbox (seq, {columns}, headers, "after", hops)
  SELECT seq, {stored_values}, headers::jsonb, '[]'::jsonb, 0 FROM won ORDER BY seq
), made AS (
  INSERT INTO deliveries (id, event_seq, event_id, route_id, lane, chain, barrier, unsure, state, attempts)
  SELECT won.seq << {ROUTE_BITS} | one.route_id, won.seq, won.id, one.route_id, won.lane, one.chain, false, one.unsure,
         'ready', 0
  FROM (
    SELECT one.place, {of_row("one.route_id", route)} AS route_id, {of_row("one.chain", chain)} AS chain,
           {of_row("one.unsure", unsure)} AS unsure
    FROM unnest({place}, {route}, {chain}, {unsure}) AS one (place, route_id, chain, unsure)
  ) AS one JOIN won ON won.place = one.place
), counted AS (
  INSERT INTO received_totals (source, slot, received)
  SELECT source, {slot}, count(*) FROM (SELECT source FROM won UNION ALL SELECT source FROM repeated) AS came
  GROUP BY source ORDER BY source COLLATE "C"
  ON CONFLICT (source, slot) DO UPDATE SET received = received_totals.received + excluded.received
)
SELECT place, seq, NULL::uuid FROM won UNION ALL SELECT place, NULL, event_id FROM repeated
"""  # noqa: S608 - put together from the names of columns


_STORE = Direct(postgresql=_statement(), sqlite="")
