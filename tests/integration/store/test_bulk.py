"""Many rows in one statement come out as they went in, also where a column says the same in all of them."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.store import tables as t
from hub.store.bulk import BulkInsert, BulkUpdate, Record, shortened
from hub.store.store import Store

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
COLUMNS = ("seq", "message_id", "delivery_id", "event_id", "destination", "routing_key", "key", "lane", "chain")
INSERT = BulkInsert(
    t.outbox, (*COLUMNS, "content_type", "payload", "headers"), same=("state", "attempts", "reason", "created_at")
)
SAME = ("ready", 0, None, NOON)


def row(seq: int, key: str | None, headers: dict[str, str]) -> Record:
    return (seq, f"m{seq}", seq, UUID(int=7), "bank", "paid", key, 3, -5, "text/plain", b"\x00x", headers)


@pytest.mark.parametrize(
    "rows",
    [
        [row(1, None, {})],
        [row(1, None, {}), row(2, None, {}), row(3, None, {})],
        [row(1, "a", {"x": "1"}), row(2, "a", {"x": "1"})],
        [row(1, "a", {}), row(2, None, {"x": "1"}), row(3, "a", {})],
        [row(1, None, {"x": "1"}), row(2, "b", {"x": "2"}), row(3, None, {"x": "3"})],
    ],
    ids=["one", "all alike and null", "all alike", "alike at both ends", "null at both ends"],
)
async def test_rows_are_stored_as_they_are(store: Store, rows: list[Record]) -> None:
    async def work(conn: AsyncConnection) -> None:
        await INSERT.run(conn, rows, SAME)

    await store.write(work)

    async with store.reading() as conn:
        names = (*COLUMNS, "content_type", "payload", "headers", "state", "attempts", "reason", "created_at")
        found = await conn.execute(select(*(t.outbox.c[name] for name in names)).order_by(t.outbox.c.seq))
        assert [tuple(one) for one in found] == [(*one, *SAME) for one in rows]


async def test_an_update_may_say_the_same_of_all_rows_or_not(store: Store) -> None:
    update = BulkUpdate(t.outbox, "seq", ("chain", "reason"), same=("state",))

    async def work(conn: AsyncConnection) -> list[int]:
        await INSERT.run(conn, [row(seq, None, {}) for seq in (1, 2, 3)], SAME)
        return [
            await update.run(conn, [(1, 9, "full"), (2, 9, "full")], ("waiting",)),
            await update.run(conn, [(3, 8, None)], ("parked",)),
        ]

    counts = await store.write(work)

    async with store.reading() as conn:
        columns = (t.outbox.c.seq, t.outbox.c.chain, t.outbox.c.reason, t.outbox.c.state)
        found = await conn.execute(select(*columns).order_by(t.outbox.c.seq))
        assert [tuple(one) for one in found] == [
            (1, 9, "full", "waiting"),
            (2, 9, "full", "waiting"),
            (3, 8, None, "parked"),
        ]
    assert counts == [2, 1]


def test_only_a_column_that_says_the_same_in_all_rows_is_shortened() -> None:
    assert shortened(("a", "a", "a")) == ("a",)
    assert shortened((None, None)) == (None,)
    assert shortened(("a", "b", "a")) == ("a", "b", "a")
    assert shortened((None, 1, None)) == (None, 1, None)
    assert shortened((1, 2)) == (1, 2)
