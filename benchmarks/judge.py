"""Was the run correct? Plain SQL over what is left in the database, and the ids that reached the queue.

A run in which anything is wrong has no figure. The judge imports nothing of the hub.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.databases import connected
from benchmarks.load import Load

HUB_QUERIES: Mapping[str, str] = {
    "events": "SELECT count(*) FROM inbox",
    "identities": "SELECT count(*) FROM identities",
    "duplicates": "SELECT count(*) FROM duplicates",
    "conflicts": "SELECT count(*) FROM conflicts",
    "entries": "SELECT count(*) FROM entries",
    "moves": "SELECT count(*) FROM moves",
    "done": "SELECT count(*) FROM deliveries WHERE state = 'done'",
    "parked": "SELECT count(*) FROM deliveries WHERE state = 'parked'",
    "open": "SELECT count(*) FROM deliveries WHERE state NOT IN ('done', 'parked')",
    "failed": "SELECT count(DISTINCT delivery_id) FROM attempts",
    "outbox": "SELECT count(DISTINCT message_id) FROM outbox",
    "sent": "SELECT count(*) FROM outbox WHERE state = 'sent'",
    # Balances stand in the account's own direction; one account may keep its balance in several rows.
    "wrong balances": """
        SELECT count(*) FROM (
            SELECT a.id, a.side, sum(b.balance) AS balance FROM accounts a JOIN balances b ON b.account_id = a.id
            GROUP BY a.id, a.side
        ) kept LEFT JOIN (
            SELECT account, sum(amount) AS posted FROM (
                SELECT credit_account AS account, amount FROM moves
                UNION ALL SELECT debit_account, -amount FROM moves
            ) legs GROUP BY account
        ) summed ON summed.account = kept.id
        WHERE kept.balance <> coalesce(CASE kept.side WHEN 'credit' THEN summed.posted ELSE -summed.posted END, 0)
    """,
}
BASELINE_QUERIES: Mapping[str, str] = {
    "events": "SELECT count(*) FROM events",
    "entries": "SELECT count(*) FROM entries",
    "postings": "SELECT count(*) FROM postings",
    "outbox": "SELECT count(DISTINCT message_id) FROM outbox",
    "wrong entries": "SELECT count(*) FROM (SELECT entry_id FROM postings GROUP BY entry_id"
    " HAVING sum(amount) <> 0 OR count(*) <> 2) uneven",
    "wrong balances": "SELECT count(*) FROM accounts a LEFT JOIN (SELECT account, sum(amount) AS posted FROM postings"
    " GROUP BY account) p ON p.account = a.code WHERE a.balance <> coalesce(p.posted, 0)",
}
ARRIVED_SQLITE = "SELECT json_extract(CAST(payload AS TEXT), '$.id') FROM local_messages"


@dataclass(slots=True)
class Arrivals:
    """What reached the queue: distinct ids, and how many messages in all (a repeat is allowed, a gap is not)."""

    ids: set[str] = field(default_factory=set)
    messages: int = 0

    def add(self, event_id: str) -> None:
        self.ids.add(event_id)
        self.messages += 1


async def read_postgres(url: str, queries: Mapping[str, str]) -> dict[str, int]:
    """The answers of one PostgreSQL database."""
    async with connected(url) as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        return {name: int(await connection.fetchval(query)) for name, query in queries.items()}


def read_sqlite(path: Path, queries: Mapping[str, str]) -> dict[str, int]:
    """The answers of one SQLite database."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return {name: int(connection.execute(query).fetchone()[0]) for name, query in queries.items()}
    finally:
        connection.close()


def arrived_sqlite(path: Path) -> Arrivals:
    """What lies in the embedded queues."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        arrivals = Arrivals()
        for (event_id,) in connection.execute(ARRIVED_SQLITE):
            arrivals.add(str(event_id))
        return arrivals
    finally:
        connection.close()


def since(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """What a run has added to a database that was not empty."""
    return {name: number - before.get(name, 0) for name, number in after.items()}


def wrong_with_hub(found: Mapping[str, int], loads: Collection[Load], arrivals: Arrivals | None) -> list[str]:
    """Everything in which the hub's run was not what it should be. Without ``arrivals`` they are not judged."""
    events, good = _events(loads), _events(loads) - _poisoned(loads)
    expected = {
        "events": events,
        "identities": events,
        "duplicates": sum(load.repeats for load in loads),
        "conflicts": 0,
        "entries": good,
        "moves": good,
        "done": good,
        "parked": events - good,
        "open": 0,
        "failed": events - good,
        "outbox": good,
        "sent": good,
        "wrong balances": 0,
    }
    return _differences(expected, found) + _missing(loads, arrivals)


def wrong_with_acceptance(found: Mapping[str, int], loads: Collection[Load]) -> list[str]:
    """Everything in which a run that only accepts was not what it should be."""
    expected = {"events": _events(loads), "identities": _events(loads), "duplicates": sum(one.repeats for one in loads)}
    return _differences(expected, found)


def wrong_with_baseline(found: Mapping[str, int], loads: Collection[Load], arrivals: Arrivals | None) -> list[str]:
    """Everything in which a baseline's run was not what it should be."""
    events = _events(loads)
    expected = {
        "events": events,
        "entries": events,
        "postings": 2 * events,
        "outbox": events,
        "wrong entries": 0,
        "wrong balances": 0,
    }
    return _differences(expected, found) + _missing(loads, arrivals)


def refuse(problems: Collection[str]) -> None:
    """Raises RuntimeError when there is a problem."""
    if problems:
        raise RuntimeError(f"the run was wrong, so it has no figure: {'; '.join(problems)}")


def _events(loads: Collection[Load]) -> int:
    return sum(load.events for load in loads)


def _poisoned(loads: Collection[Load]) -> int:
    return sum(load.poisoned for load in loads)


def _differences(expected: Mapping[str, int], found: Mapping[str, int]) -> list[str]:
    return [
        f"{name}: expected {number}, found {found[name]}" for name, number in expected.items() if found[name] != number
    ]


def _missing(loads: Collection[Load], arrivals: Arrivals | None) -> list[str]:
    if arrivals is None:
        return []
    expected = set().union(*(load.good_ids() for load in loads))
    missing, strange = expected - arrivals.ids, arrivals.ids - expected
    return [
        f"{len(ids)} {what}, such as {min(ids)}"
        for ids, what in ((missing, "never arrived"), (strange, "arrived that must not"))
        if ids
    ]
