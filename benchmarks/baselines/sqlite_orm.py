"""The naive baseline on SQLite: the same ORM transaction per message on aiosqlite, synchronous FULL, no broker.

One message after the other: SQLite has one writer, and sessions side by side would only wait for each other.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from benchmarks.baselines.models import Deposit, create_tables, credit
from benchmarks.baselines.settings import Places
from benchmarks.load import Load
from benchmarks.processes import tree_cpu_s


async def main(places: Places, load: Load) -> dict[str, float]:
    """Run the load; seconds, and processor seconds of this process."""
    engine = create_async_engine(places.database_url)

    @event.listens_for(engine.sync_engine, "connect")
    def _durable(connection: Any, _: object) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.close()

    await create_tables(engine)
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    cpu, start = tree_cpu_s(os.getpid()), time.perf_counter()
    for _, body in load.messages():
        await credit(sessions, Deposit.model_validate_json(body), body)
    seconds = time.perf_counter() - start
    await engine.dispose()
    return {"seconds": seconds, "cpu_s": tree_cpu_s(os.getpid()) - cpu}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(Places.of_environment(), Load(events=int(os.environ["BENCH_EVENTS"]))))))
