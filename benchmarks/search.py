"""``python -m benchmarks.search``: how long the console's searches take among a million stored events on PostgreSQL.

Each way of asking is asked ROUNDS times, with another value each time; the 95th percentile must stay below BOUND_MS.
The events are made by the database itself, as rows: how they come in is measured elsewhere.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from benchmarks.databases import connected, database
from hub.console.pages.events import PAGE, WINDOW
from hub.inbox.identity import identity_hash
from hub.operate.events import EventFilter, list_events
from hub.operate.finding import find_events
from hub.operate.pulse import read_lanes, read_pulse
from hub.store import tables as t
from hub.store.schema import upgrade
from hub.store.store import Store

EVENTS: Final = 1_000_000
ROUNDS: Final = 40
BOUND_MS: Final = 200.0
APART: Final = timedelta(milliseconds=100)
TEN_MINUTES: Final = timedelta(minutes=10)
SOURCES: Final = ("sepay", "loymax", "shop", "paypay")
ID: Final = "('01930000-0000-7000-8000-' || lpad(to_hex({n}), 12, '0'))::uuid"

FILL: Final = (
    "INSERT INTO routes (id, name) VALUES (1, 'book'), (2, 'copy')",
    f"""
INSERT INTO inbox (seq, id, source, type, key, after, dedupe_id, routing_key, message_id, occurred_at, received_at,
                   content_type, payload, headers, traceparent, verdict, hops, problem, matches, cause)
SELECT n, {ID.format(n="n")}, (ARRAY['sepay', 'loymax', 'shop', 'paypay'])[1 + n % 4],
       CASE WHEN n % 50000 = 7 THEN 'order.rare' ELSE 'order.' || (ARRAY['paid', 'refunded', 'shipped'])[1 + n % 3] END,
       'customer-' || n % 100000, '[]', 'd-' || n, 'order', 'm-' || n, t, t, 'application/json',
       convert_to(repeat('{{"amount": ' || n || '}}', 20), 'UTF8'), '{{}}',
       '00-' || md5(n::text) || '-0123456789abcdef-01', 'valid', 0, NULL, 2, NULL
FROM generate_series(1, EVENTS_MADE) AS n,
     LATERAL (SELECT now() - (EVENTS_MADE - n) * interval '100 milliseconds' AS t) AS x
""",
    f"""
INSERT INTO deliveries (id, event_seq, event_id, route_id, lane, chain, barrier, unsure, state, attempts, next_at,
                        outcome, reason, finished_at)
SELECT n::bigint * 65536 + r, n, {ID.format(n="n")}, r, n % 256, n % 100000, false, false,
       CASE WHEN n % 1000 = 1 AND r = 1 THEN 'parked' WHEN n % 2000 = 3 THEN 'refused' ELSE 'done' END, 1, NULL,
       'applied', NULL, CASE WHEN n % 1000 = 1 AND r = 1 THEN NULL ELSE now() END
FROM generate_series(1, EVENTS_MADE) AS n, generate_series(1, 2) AS r
""",
    f"INSERT INTO tags (name, value, event_id) SELECT 'order_code', 'ORD' || n, {ID.format(n='n')}"
    " FROM generate_series(1, EVENTS_MADE) AS n",
    "INSERT INTO identities (id_hash, same_hash, event_id)"
    f" SELECT decode(md5('i' || n), 'hex'), decode(md5('s' || n), 'hex'), {ID.format(n='n')}"
    " FROM generate_series(1, EVENTS_MADE) AS n",
    "ANALYZE",
)


async def measure(events: int, rounds: int) -> int:
    """Fill, ask, show. 1 when a way of asking is too slow."""
    async with database() as url:
        store = Store.open(url.replace("postgresql://", "postgresql+asyncpg://", 1), pool_size=6)
        try:
            await upgrade(store, ())
            async with connected(url) as connection:
                for statement in FILL:
                    await connection.execute(statement.replace("EVENTS_MADE", str(events)), timeout=1_800)
            places = _places(rounds, events)
            newest_at = await _known_by_their_senders(store, places)
            found = {name: await _timed(ask, places) for name, ask in _ways(store, events, newest_at).items()}
        finally:
            await store.close()
    for name, (middle, slow) in found.items():
        print(f"{name:<34} median {middle:7.1f} ms   p95 {slow:7.1f} ms{'' if slow < BOUND_MS else '   TOO SLOW'}")
    print(json.dumps({"events": events, "p95_ms": {name: round(slow, 1) for name, (_, slow) in found.items()}}))
    return 1 if any(slow >= BOUND_MS for _, slow in found.values()) else 0


def _places(rounds: int, events: int) -> list[int]:
    """Numbers of events, spread over all of them, the same in every run."""
    return [1 + (number * 7_919 * 31) % max(1, events - 1) for number in range(rounds)]


async def _known_by_their_senders(store: Store, places: Sequence[int]) -> datetime:
    """Give the events that are asked for the identities by which their senders know them; answers when the newest came.

    The others have as many rows, by a hash that the database can make.
    """
    made = {n: identity_hash(SOURCES[n % len(SOURCES)], f"d-{n}") for n in places}

    async def work(conn: AsyncConnection) -> datetime:
        for n, id_hash in made.items():
            stood_in = t.identities.c.id_hash == hashlib.md5(f"i{n}".encode()).digest()
            await conn.execute(update(t.identities).where(stood_in).values(id_hash=id_hash))
        newest: datetime = (await conn.execute(select(func.max(t.inbox.c.received_at)))).scalar_one()
        return newest

    return await store.write(work)


def _ways(store: Store, events: int, newest_at: datetime) -> dict[str, Callable[[int], Awaitable[object]]]:
    """Every way of asking, given a number of an event."""

    async def one(text: str) -> object:
        found = await find_events(store, text, SOURCES)
        assert found, text
        return found

    async def page(n: int, wanted: EventFilter, *, before: int | None = None) -> object:
        return await list_events(store, wanted, before=before, limit=PAGE, window=WINDOW)

    def at(n: int) -> datetime:
        return newest_at - (events - n) * APART

    async def now_of() -> object:
        now = datetime.now(UTC)
        async with store.reading() as conn:
            await read_lanes(conn, now)
        return await read_pulse(store, now)

    return {
        "one field: order code": lambda n: one(f"ORD{n}"),
        "one field: id": lambda n: one(f"01930000-0000-7000-8000-{n:012x}"),
        "one field: key": lambda n: one(f"customer-{n % 100_000}"),
        "one field: sender's id": lambda n: one(f"d-{n}"),
        "one field: trace": lambda n: one(hashlib.md5(str(n).encode()).hexdigest()),
        "one field: nothing": lambda n: find_events(store, f"nothing-{n}", SOURCES),
        "newest": lambda n: page(n, EventFilter()),
        "a page in the middle": lambda n: page(n, EventFilter(), before=n),
        "key": lambda n: page(n, EventFilter(key=f"customer-{n % 100_000}")),
        "tag": lambda n: page(n, EventFilter(tag=f"order_code=ORD{n}")),
        "type, common": lambda n: page(n, EventFilter(type="order.paid"), before=n),
        "type, rare": lambda n: page(n, EventFilter(type="order.rare"), before=n),
        "type that is not there": lambda n: page(n, EventFilter(type="nothing"), before=n),
        "source and type": lambda n: page(n, EventFilter(source="sepay", type="order.paid"), before=n),
        "state parked": lambda n: page(n, EventFilter(state="parked"), before=n),
        "state refused": lambda n: page(n, EventFilter(state="refused"), before=n),
        "state unmatched": lambda n: page(n, EventFilter(state="unmatched"), before=n),
        "sender's id": lambda n: page(n, EventFilter(dedupe_id=f"d-{n}"), before=n + 1),
        "state waiting": lambda n: page(n, EventFilter(state="waiting"), before=n),
        "state discarded": lambda n: page(n, EventFilter(state="discarded"), before=n),
        "state applied": lambda n: page(n, EventFilter(state="applied"), before=n),
        "ten minutes": lambda n: page(n, EventFilter(since=at(n) - TEN_MINUTES, until=at(n))),
        "until then": lambda n: page(n, EventFilter(until=at(n))),
        "since then, refused": lambda n: page(n, EventFilter(since=at(n), state="refused")),
        "the oldest page": lambda n: page(n, EventFilter(), before=PAGE + n % PAGE),
        "the overview's figures": lambda _: now_of(),
    }


async def _timed(ask: Callable[[int], Awaitable[object]], places: Sequence[int]) -> tuple[float, float]:
    took = []
    for place in places:
        begun = time.perf_counter()
        await ask(place)
        took.append((time.perf_counter() - begun) * 1000)
    took.sort()
    return took[len(took) // 2], took[min(len(took) - 1, int(len(took) * 0.95))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    os.environ.pop("HUB_DATABASE_URL", None)
    return asyncio.run(measure(options.events, options.rounds))


if __name__ == "__main__":
    sys.exit(main())
