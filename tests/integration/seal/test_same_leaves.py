"""The same row has the same leaf on SQLite and on PostgreSQL: a seal outlives a move from the one to the other."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import insert

from hub.seal.kinds import CALL, EVENT, MESSAGE, Kind, RowReader
from hub.store import tables as t
from hub.store.store import Store
from tests.support.databases import DIALECTS, Databases

AT = datetime(2026, 11, 21, 9, 30, 0, 7, tzinfo=UTC)
AWKWARD: dict[str, Any] = {"ü\u2028": [1.0, 1e300, -0.0, 0.1, 1.5e-7, 2**63, None, True], "a": {"": "\\ \"'"}, "Z": 1}
EVENT_ROW = {
    "seq": 7,
    "id": UUID(int=7),
    "source": "shop",
    "type": "sale.gemacht.✓",
    "key": None,
    "after": ["b", "a"],
    "dedupe_id": "",
    "routing_key": "sale",
    "message_id": "m",
    "occurred_at": AT,
    "received_at": AT,
    "content_type": "application/json",
    "payload": bytes(range(256)),
    "headers": AWKWARD,
    "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01",
    "verdict": "valid",
    "hops": 0,
    "matches": 3,
}
CALL_ROW = {
    "delivery_id": 7 << 16 | 1,
    "step": "ask",
    "number": 2,
    "provider": "bank",
    "key": "k",
    "request_hash": bytes(16),
    "state": "settled",
    "outcome": AWKWARD,
    "started_at": AT,
    "settled_at": None,
    "lookups": 0,
}
MESSAGE_ROW = {
    "seq": 9,
    "message_id": "m",
    "delivery_id": 7 << 16 | 1,
    "event_id": UUID(int=7),
    "destination": "desk",
    "routing_key": "r",
    "key": "k",
    "lane": 3,
    "chain": -(2**63),
    "content_type": "text/plain",
    "payload": b"",
    "headers": {},
    "state": "sent",
    "attempts": 1,
    "created_at": AT,
    "sent_at": AT,
}


async def _leaves(address: str) -> list[str]:
    store = Store.open(address, pool_size=2)
    samples: list[tuple[Kind, int]] = [(EVENT, 7), (CALL, 7 << 16 | 1), (MESSAGE, 9)]
    found = []
    async with store.writer.begin() as conn:
        for table, row in ((t.inbox, EVENT_ROW), (t.calls, CALL_ROW), (t.outbox, MESSAGE_ROW)):
            await conn.execute(insert(table), [row])
        for kind, number in samples:
            reader = RowReader(kind, store.dialect)
            [stored] = await reader.of(conn, [number])
            assert reader.member(stored) == reader.stored(stored).member
            found.append(reader.member(stored).leaf.hex())
    await store.close()
    return found


async def test_both_databases_give_the_same_leaves(databases: Databases) -> None:
    addresses = [await databases.fresh(dialect) for dialect in DIALECTS]

    one, other = [await _leaves(address) for address in addresses]

    assert one == other
    assert len(set(one)) == 3
    for address in addresses:
        await databases.drop(address)
