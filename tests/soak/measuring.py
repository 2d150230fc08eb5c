"""What a running hub holds: memory and descriptors of its processes, rows and bytes of its tables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from benchmarks.processes import tree_of
from hub.store.metadata import metadata
from hub.store.store import Store

PASSING: Final = (
    "inbox",
    "deliveries",
    "attempts",
    "calls",
    "outbox",
    "duplicates",
    "tags",
    "barriers",
    "blocked",
    "timers",
    "local_messages",
)
"""Tables whose rows go again: with what is pruned, or once they are dealt with. All others are kept for ever."""
MB: Final = 1_048_576
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")

_SIZES: Final = text(
    "SELECT relname, pg_table_size(oid), pg_indexes_size(oid) FROM pg_class"
    " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One look. ``values``: what is measured, by the names of ``BOUNDS`` in ``judging.py``."""

    at_s: float
    events: int
    values: Mapping[str, float]


async def look(store: Store, pid: int, *, at_s: float, events: int) -> Sample:
    """Look at everything once."""
    pids = tree_of(pid)
    values: dict[str, float] = {"rss_mb": sum(map(_rss_mb, pids)), "descriptors": sum(map(_descriptors, pids))}
    async with store.reading() as conn:
        values |= {f"rows of {name}": await _rows(conn, name) for name in PASSING}
        values |= await (_postgres(conn) if store.dialect == "postgresql" else _sqlite(conn))
    return Sample(at_s, events, values)


async def _rows(conn: AsyncConnection, name: str) -> float:
    count = await conn.execute(select(func.count()).select_from(metadata.tables[name]))
    return float(count.scalar_one())


async def _postgres(conn: AsyncConnection) -> dict[str, float]:
    """Megabytes of the tables that pass and of their indexes, and of everything that stays."""
    sums = {"passing_tables_mb": 0.0, "passing_indexes_mb": 0.0, "kept_mb": 0.0}
    for name, table, indexes in await conn.execute(_SIZES):
        if name in PASSING:
            sums["passing_tables_mb"] += table / MB
            sums["passing_indexes_mb"] += indexes / MB
        else:
            sums["kept_mb"] += (table + indexes) / MB
    return sums


async def _sqlite(conn: AsyncConnection) -> dict[str, float]:
    """Megabytes of the file, and of the pages in it that hold anything; its tables share them."""
    pages, free, size = [
        int(await conn.scalar(text(f"PRAGMA {name}")) or 0) for name in ("page_count", "freelist_count", "page_size")
    ]
    return {"file_mb": pages * size / MB, "kept_mb": (pages - free) * size / MB}


def _rss_mb(pid: int) -> float:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES / MB
    return 0.0


def _descriptors(pid: int) -> int:
    with suppress(OSError):
        return len(os.listdir(f"/proc/{pid}/fd"))
    return 0
