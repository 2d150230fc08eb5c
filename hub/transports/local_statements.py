"""The statements of the embedded broker, for both databases, and how messages become their rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.store import tables as t
from hub.store.bulk import BulkInsert
from hub.store.direct import Direct
from hub.store.plain import PlainRow
from hub.transports.base import Delivered, OutboundMessage


def values_of(queue: str, message: OutboundMessage) -> tuple[object, ...]:
    """The row of a copy, but for its number."""
    of_message = (message.message_id, message.routing_key, message.content_type, message.payload)
    return (queue, *of_message, dict(message.headers))


def columns_of(copies: Sequence[tuple[str, OutboundMessage]]) -> Iterable[Sequence[object]]:
    """An array per column of ``STORE_COPIES``."""
    rows = [values_of(*copy) for copy in copies]
    *columns, headers = zip(*rows, strict=True) if rows else [()] * 6
    return (*columns, [json.dumps(one) if one else "{}" for one in headers])


def delivered_of(row: PlainRow) -> Delivered:
    """The message in a row that ``HAND_OUT`` answers."""
    tag, message_id, routing_key, content_type, payload, headers, at, deliveries = row
    return Delivered(
        tag=tag,
        message_id=message_id,
        routing_key=routing_key,
        content_type=content_type,
        payload=payload,
        headers=json.loads(headers),
        redelivered=deliveries > 1,
        timestamp=(datetime.fromisoformat(at) if isinstance(at, str) else at).astimezone(UTC),
    )


TURN_LOCK = 0x4855425F4C4F4341
"""The number of the lock that publishers hold to the end of their transaction ("HUB_LOCA")."""


async def take_turn(conn: AsyncConnection) -> None:
    """Let one transaction at a time add messages. SQLite has one writer anyway."""
    if conn.dialect.name == "postgresql":
        await conn.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": TURN_LOCK})


NO_MARK = "0"
"""The mark of no bindings at all."""
_MARK = "coalesce(sum(hashtextextended(concat_ws(E'\\x1f', exchange, queue, pattern), 0)){over}, 0)::text"
BINDINGS = Direct(
    postgresql=f"SELECT exchange, queue, pattern, {_MARK.format(over=' OVER ()')} FROM local_bindings ORDER BY 1, 2, 3",  # noqa: S608 - our words
    sqlite="SELECT exchange, queue, pattern FROM local_bindings ORDER BY 1, 2, 3",
)
# The number of each copy is drawn behind the turn and in their order; the turn ends when this is committed. Bindings
# that are declared while it waits for its turn count as declared after it.
STORE_COPIES = Direct(
    postgresql=f"""\
WITH turn AS MATERIALIZED (SELECT pg_advisory_xact_lock({TURN_LOCK})),
known AS MATERIALIZED (SELECT $1::text = (SELECT {_MARK.format(over="")} FROM local_bindings) AS is_so FROM turn),
stored AS (
  INSERT INTO local_messages
    (id, queue, message_id, routing_key, content_type, payload, headers, published_at, deliveries)
  SELECT nextval('local_message_seq'), c.queue, c.message_id, c.routing_key, c.content_type, c.payload,
         c.headers::jsonb, $2::timestamptz, 0
  FROM (SELECT new.* FROM known
        CROSS JOIN unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::bytea[], $8::text[])
          WITH ORDINALITY AS new (queue, message_id, routing_key, content_type, payload, headers, place)
        WHERE known.is_so ORDER BY new.place OFFSET 0) AS c
  ON CONFLICT (queue, message_id) DO NOTHING)
SELECT is_so FROM known""",  # noqa: S608 - our words
    sqlite="",
)
STORE_COPIES_SQLITE = BulkInsert(
    t.local_messages,
    ("id", "queue", "message_id", "routing_key", "content_type", "payload", "headers"),
    same=("published_at", "deliveries"),
    conflict='ON CONFLICT ("queue", "message_id") DO NOTHING',
)
NOT_EMPTY = Direct(
    postgresql="""\
SELECT q.name FROM unnest($1::text[]) AS q (name)
WHERE (SELECT m.id FROM local_messages AS m WHERE m.queue = q.name ORDER BY m.id LIMIT 1) IS NOT NULL""",
    sqlite="""\
SELECT q.value FROM json_each(?1) AS q
WHERE (SELECT m.id FROM local_messages AS m WHERE m.queue = q.value ORDER BY m.id LIMIT 1) IS NOT NULL""",
)
HAS_ANY = Direct(postgresql="", sqlite="SELECT 1 FROM local_messages WHERE queue = ? LIMIT 1")
HAND_OUT = Direct(
    postgresql="""\
UPDATE local_messages SET deliveries = deliveries + 1
WHERE id = ANY (ARRAY(SELECT id FROM local_messages WHERE queue = $1 ORDER BY id LIMIT $2::bigint))
RETURNING id, message_id, routing_key, content_type, payload, headers::text, published_at, deliveries""",
    sqlite="""\
UPDATE local_messages SET deliveries = deliveries + 1
WHERE id IN (SELECT id FROM local_messages WHERE queue = ?1 ORDER BY id LIMIT ?2)
RETURNING id, message_id, routing_key, content_type, payload, headers, published_at, deliveries""",
)
ACKNOWLEDGE = Direct(
    postgresql="DELETE FROM local_messages WHERE queue = $1 AND id = ANY ($2::bigint[])",
    sqlite="DELETE FROM local_messages WHERE queue = ?1 AND id IN (SELECT value FROM json_each(?2))",
)
