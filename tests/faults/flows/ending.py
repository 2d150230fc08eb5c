"""How a flow must end, counted: messages by queue and routing key, entries and balances by pattern, rows by query."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.faults.books import Books


@dataclass(frozen=True, slots=True)
class Ending:
    """``entries`` and ``balances`` by an SQL pattern of the reference or the account; ``rows``: query → its rows."""

    messages: Mapping[str, Mapping[str, int]]
    entries: Mapping[str, int] = field(default_factory=dict)
    balances: Mapping[str, int] = field(default_factory=dict)
    rows: Mapping[str, Sequence[tuple[object, ...]]] = field(default_factory=dict)
    reviews: Sequence[str] = ()


async def judge_ending(books: Books, ending: Ending) -> list[str]:
    """Every violation in words."""
    found: list[str] = []
    for queue, wanted in ending.messages.items():
        lie = await books.rows(f"SELECT routing_key FROM local_messages WHERE queue = '{queue}'")
        there = Counter(str(row[0]) for row in lie)
        if there != Counter(wanted):
            found.append(f"what happened is told once: {queue}: expected {dict(wanted)}, found {dict(there)}")
    for pattern, number in ending.entries.items():
        [[there]] = await books.rows(f"SELECT count(*) FROM entries WHERE reference LIKE '{pattern}'")
        if there != number:
            found.append(f"what happened is booked once: {pattern}: expected {number} entries, found {there}")
    for pattern, amount in ending.balances.items():
        [[there]] = await books.rows(
            "SELECT coalesce(sum(b.balance), 0) FROM balances b JOIN accounts a ON a.id = b.account_id"
            f" WHERE a.code LIKE '{pattern}'"
        )
        if int(there) != amount:
            found.append(f"balances are right: {pattern}: expected {amount}, found {there}")
    for query, wanted_rows in ending.rows.items():
        rows = [tuple(row) for row in await books.rows(query)]
        if rows != list(wanted_rows):
            found.append(f"rows are right: {query}: expected {list(wanted_rows)}, found {rows}")
    reviews = sorted(str(row[0]) for row in await books.rows("SELECT outcome FROM reviews WHERE state = 'open'"))
    if reviews != sorted(ending.reviews):
        found.append(f"a person sees what must be seen: expected {sorted(ending.reviews)}, found {reviews}")
    return found
