"""The path of an event reads no more because there is more history: what is done is in no index that is read.

PostgreSQL tells how many rows a transaction has read of each table; SQLite only whether it walks over one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import event as database_event
from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.capability import handler
from hub.deliver.batch import BatchRunner
from hub.deliver.blocking import calling_chains
from hub.deliver.context import Context
from hub.deliver.picker import lanes_with_work, pick
from hub.deliver.settle import Settler
from hub.event import LANES, Event, delivery_id_of, lane_of
from hub.inbox.rows import store_drafts
from hub.ledger import Account, Move
from hub.money import Money
from hub.outbox.marks import write_marks
from hub.outbox.picker import load_messages
from hub.outbox.picker import pick as pick_messages
from hub.outbox.verdicts import judge
from hub.recent import Recent
from hub.store import tables as t
from hub.store.bulk import BulkInsert
from hub.store.store import Fence, Store
from hub.transports.base import Confirmed
from tests.integration.deliver.workshop import ALL_LANES, message, route, routing
from tests.support.parts import Parts, assemble

HISTORY = 20_000
BATCH = 50
READ_MAX = 20 * BATCH
"""Rows of one table that a batch may read from its acceptance to its mark; a walk over the history reads far more."""
NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
CLEARING = Account("clearing", "JPY", "debit", running=False)
ROUTES = routing(route("pay", "pay", more="publish: out"), destinations=["out"])


@handler
async def pay(event: Event, ctx: Context) -> None:
    wallet = Account(f"wallet:{event.key}", "JPY", "credit")
    await ctx.ledger.post(f"pay:{event.id}", "pay", [Move(CLEARING, wallet, Money(100, "JPY"))])
    await ctx.publish({"id": str(event.id)})


@pytest.mark.parametrize("is_analysed", [True, False])
async def test_a_batch_reads_its_own_rows_and_no_history(store: Store, *, is_analysed: bool) -> None:
    async with assemble(store, ROUTES, {"pay": pay}, start=False) as parts:
        await store.write(_history)
        if is_analysed:
            # In a quiet hour: then the planner believes that nothing is ever ready.
            await store.write(lambda conn: conn.execute(text("ANALYZE")))
        fence = Fence(uuid4(), 1)
        await store.write(lambda conn: _register(conn, fence))

        with statements(store) as run:
            read = await store.write(lambda conn: _batch(conn, parts), fence=fence)

        if store.dialect == "postgresql":
            assert {table: rows for table, rows in read.items() if rows > READ_MAX} == {}
            assert read["outbox"] >= BATCH
        else:
            assert run
            assert await _walks(store, run) == []


async def test_the_sweep_looks_once_into_each_lane_however_long_its_backlog_is(store: Store) -> None:
    async def work(conn: AsyncConnection) -> set[int]:
        await _backlog(conn)
        await conn.execute(text("ANALYZE"))
        with statements(store) as run:
            found = await lanes_with_work(conn, range(2, LANES), NOW)
            assert await calling_chains(conn, range(2, LANES)) == []
        if conn.dialect.name == "postgresql":
            assert await _rows_read(conn, run) <= 3 * LANES
        else:
            plans = [await conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {one}", tuple(given)) for one, given in run]
            steps = [row[-1] for plan in plans for row in plan]
            assert "SEARCH own USING INDEX ix_deliveries_ready (lane>?)" in steps
            assert "SEARCH blocked USING COVERING INDEX ix_blocked_next_at (lane=? AND next_at<?)" in steps
            assert "SEARCH blocked USING INDEX ix_blocked_calling (lane=?)" in steps
        return found

    # Lanes 1 to 3 have ready deliveries, 11 a chain that is due; 12 has chains that are not, 1 is another's.
    assert await store.write(work) == {2, 3, 11}


async def _backlog(conn: AsyncConnection) -> None:
    event_id, seqs = uuid4(), range(1, HISTORY + 1)
    ready = [(delivery_id_of(seq, 1), seq, event_id, 1 + seq % 3, seq) for seq in seqs]
    await DELIVERIES.run(conn, ready, (1, False, False, "ready", 0))
    blocked = BulkInsert(t.blocked, ("chain", "lane", "head", "next_at"), same=("state",))
    later = [(seq, 12, seq, NOW + timedelta(hours=1)) for seq in seqs]
    await blocked.run(conn, [*later, (0, 11, 1, NOW)], ("backoff",))


async def _rows_read(conn: AsyncConnection, run: list[tuple[str, Any]]) -> int:
    """How many rows these statements read of tables and indexes, as PostgreSQL counts them."""

    def read(node: dict[str, Any]) -> int:
        here = node["Actual Rows"] + node.get("Rows Removed by Filter", 0) if "Relation Name" in node else 0
        return int(here * node["Actual Loops"]) + sum(read(one) for one in node.get("Plans", ()))

    count = 0
    for statement, parameters in run:
        explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}"
        plan = (await conn.exec_driver_sql(explain, tuple(parameters))).scalar_one()
        count += read((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"])
    return count


async def _batch(conn: AsyncConnection, parts: Parts) -> dict[str, int]:
    """Accept, deliver, and relay one batch; answers how many rows of each table it has read, on PostgreSQL."""
    rules, clock = parts.rules, parts.clock
    drafts = [rules.drafter.draft(message("pay", {"key": f"new-{n}"}, f"new-{n}")) for n in range(BATCH)]
    await store_drafts(conn, drafts, route_ids=rules.route_ids, now=clock.now())
    picked = await pick(conn, ALL_LANES, limit=BATCH, now=clock.now(), targets=rules.targets_of)
    assert len(picked.works) == BATCH
    result = await BatchRunner(parts.around).run(conn, picked.works, rules)
    assert not result.raised
    await Settler(clock, rules.routes_by_id).settle(conn, result.attempts, picked.drained, picked.waits)
    destinations = parts.wiring.destinations
    found = await pick_messages(conn, ALL_LANES, limit=BATCH, now=clock.now(), destinations=destinations)
    messages = await load_messages(conn, found.heads, destinations, Recent(bytes_max=0))
    marks = judge(found, {seq: Confirmed() for seq in messages}, clock)
    await write_marks(conn, marks, now=clock.now())
    assert len(marks.sent) == BATCH
    if conn.dialect.name == "sqlite":
        return {}
    query = "SELECT relname, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables"
    return {row[0]: int(row[1]) for row in await conn.execute(text(query))}


async def _register(conn: AsyncConnection, fence: Fence) -> None:
    row = {"id": fence.worker_id, "epoch": fence.epoch, "host": "here", "pid": 1, "instance": "here"}
    await conn.execute(
        insert(t.workers), [row | {"delivers": True, "relays": True, "state": "running", "started_at": NOW}]
    )


async def _history(conn: AsyncConnection) -> None:
    """Events that came, were delivered and sent, long ago."""
    event_id, seqs = uuid4(), range(1, HISTORY + 1)
    hashes = [(seq.to_bytes(16, "big"), b"", event_id) for seq in seqs]
    await BulkInsert(t.identities, ("id_hash", "same_hash", "event_id")).run(conn, hashes)
    await INBOX.run(
        conn, [(seq, event_id) for seq in seqs], ("shop", "old", [], "", "", NOW, NOW, "", b"", {}, "", "", 0, 1)
    )
    done = [(delivery_id_of(seq, 1), seq, event_id, seq % LANES, seq) for seq in seqs]
    await DELIVERIES.run(conn, done, (1, False, False, "done", 1))
    sent = [(seq, str(seq), delivery_id_of(seq, 1), event_id, lane_of(str(seq)), seq) for seq in seqs]
    await OUTBOX.run(conn, sent, ("out", "old", "", b"", {}, "sent", 0, NOW))
    # What is new has numbers behind all that.
    for name in ("inbox_seq", "outbox_seq"):
        await conn.execute(text(_AHEAD[conn.dialect.name]), {"name": name, "last": HISTORY})


_AHEAD = {
    "postgresql": "SELECT setval(CAST(:name AS regclass), :last)",
    "sqlite": "INSERT INTO sequences (name, value) VALUES (:name, :last)",
}
INBOX = BulkInsert(
    t.inbox,
    ("seq", "id"),
    same=(
        *("source", "type", "after", "routing_key", "message_id", "occurred_at", "received_at", "content_type"),
        *("payload", "headers", "traceparent", "verdict", "hops", "matches"),
    ),
)
DELIVERIES = BulkInsert(
    t.deliveries,
    ("id", "event_seq", "event_id", "lane", "chain"),
    same=("route_id", "barrier", "unsure", "state", "attempts"),
)
OUTBOX = BulkInsert(
    t.outbox,
    ("seq", "message_id", "delivery_id", "event_id", "lane", "chain"),
    same=("destination", "routing_key", "content_type", "payload", "headers", "state", "attempts", "created_at"),
)


@contextmanager
def statements(store: Store) -> Iterator[list[tuple[str, Any]]]:
    """Every statement that is run meanwhile, with the parameters of one run of it."""
    run: list[tuple[str, Any]] = []

    def note(_conn: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        run.append((statement, parameters[0] if isinstance(parameters, list) else parameters))

    engine = store.writer.sync_engine
    database_event.listen(engine, "before_cursor_execute", note)
    try:
        yield run
    finally:
        database_event.remove(engine, "before_cursor_execute", note)


async def _walks(store: Store, run: list[tuple[str, Any]]) -> list[str]:
    """The steps that walk over a table that grows."""
    found = []
    async with store.reading() as conn:
        for statement, parameters in run:
            if statement.startswith("BEGIN"):
                continue
            plan = await conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", tuple(parameters))
            found += [
                f"{row[-1]}: {statement}"
                for row in plan
                if re.match(r"SCAN (identities|inbox|deliveries|own|outbox|entries|moves|accounts|balances)\b", row[-1])
            ]
    return found
