"""The yardstick of the database: the unit of work as SQL alone, in batches of a hundred on one connection, no broker.

These are the unit's own statements on the baselines' tables, not the hub's, and do only what the unit asks for.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Sequence

import asyncpg
from sqlalchemy.ext.asyncio import create_async_engine

from benchmarks.baselines.models import CLEARING, Deposit, create_tables, credited
from benchmarks.baselines.settings import Places
from benchmarks.load import Load
from benchmarks.processes import tree_cpu_s

BATCH = 100

# The wallets of a batch are locked in one order; a balance below zero at the end of the batch is refused by the check.
CREDIT = f"""
WITH given AS (
    SELECT * FROM unnest($1::varchar[], $2::bytea[], $3::varchar[], $4::bigint[], $5::bytea[])
        AS g (id, payload, wallet, amount, message)
), new AS (
    INSERT INTO events (id, payload) SELECT id, payload FROM given ORDER BY id ON CONFLICT DO NOTHING RETURNING id
), fresh AS (
    SELECT given.* FROM given JOIN new USING (id)
), locked AS (
    SELECT code FROM accounts WHERE code IN (SELECT wallet FROM fresh) ORDER BY code FOR UPDATE
), balance AS (
    UPDATE accounts SET balance = balance + total.amount
    FROM (SELECT wallet, sum(amount) AS amount FROM fresh JOIN locked ON locked.code = wallet GROUP BY wallet) AS total
    WHERE code = total.wallet
), entry AS (
    INSERT INTO entries (event_id) SELECT id FROM fresh RETURNING id, event_id
), legs AS (
    INSERT INTO postings (entry_id, account, amount)
    SELECT entry.id, leg.account, leg.amount
    FROM entry JOIN fresh ON fresh.id = entry.event_id,
        LATERAL (VALUES ('{CLEARING}', -fresh.amount), (fresh.wallet, fresh.amount)) AS leg (account, amount)
)
INSERT INTO outbox (message_id, payload) SELECT id, message FROM fresh
"""


async def main(places: Places, load: Load) -> dict[str, float]:
    """Run the load; seconds, and processor seconds of this process."""
    engine = create_async_engine(places.database_url)
    await create_tables(engine)
    await engine.dispose()
    deposits = [(Deposit.model_validate_json(body), body) for _, body in load.messages()]
    connection = await asyncpg.connect(places.database_url.replace("+asyncpg", ""))
    try:
        statement = await connection.prepare(CREDIT)
        cpu, start = tree_cpu_s(os.getpid()), time.perf_counter()
        for first in range(0, len(deposits), BATCH):
            await statement.fetch(*_columns(deposits[first : first + BATCH]))
        return {"seconds": time.perf_counter() - start, "cpu_s": tree_cpu_s(os.getpid()) - cpu}
    finally:
        await connection.close()


def _columns(batch: Sequence[tuple[Deposit, bytes]]) -> tuple[list[object], ...]:
    # A repeat within the batch: one statement cannot insert the same id twice.
    once = {deposit.id: (deposit, body) for deposit, body in batch}.values()
    return (
        [deposit.id for deposit, _ in once],
        [body for _, body in once],
        [deposit.wallet for deposit, _ in once],
        [deposit.amount for deposit, _ in once],
        [credited(deposit) for deposit, _ in once],
    )


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(Places.of_environment(), Load(events=int(os.environ["BENCH_EVENTS"]))))))
