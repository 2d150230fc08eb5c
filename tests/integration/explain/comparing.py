"""Compares what an explanation predicts with what the database then holds."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select

from hub.explain import Explanation
from hub.explain.model import Rehearsal
from hub.inbox.received import Received
from hub.inbox.rows import store_drafts
from hub.ledger.model import PostedEntry
from hub.ledger.read import list_entries
from hub.store import tables as t
from hub.store.metadata import metadata
from hub.store.store import Store
from tests.support.databases import all_capabilities
from tests.support.parts import Parts

Posting = tuple[str, str, int, int | None, int | None]
"""Reference, account, delta, balance before and after, in minor units."""


async def store_only(parts: Parts, received: Received) -> Any:
    """Accept a message without delivering it; its event."""
    draft = parts.wiring.drafter.draft(received)
    route_ids, now = parts.rules.route_ids, parts.clock.now()
    [(_, event)] = await parts.store.write(lambda conn: store_drafts(conn, [draft], route_ids=route_ids, now=now))
    return event


def every_rehearsal(explanation: Explanation) -> list[Rehearsal]:
    """All rehearsals, also those of emitted events."""
    found, line = [], list(explanation.rehearsals)
    while line:
        one = line.pop(0)
        found.append(one)
        line += one.following
    return found


def predicted_postings(explanation: Explanation) -> list[Posting]:
    return sorted(_postings([entry for one in every_rehearsal(explanation) for entry in one.entries]))


async def actual_postings(store: Store) -> list[Posting]:
    async with store.reading() as conn:
        return sorted(_postings(await list_entries(conn, limit=1_000)))


def _postings(entries: list[PostedEntry]) -> list[Posting]:
    return [
        (
            entry.reference,
            posting.account,
            posting.delta.amount_minor,
            posting.before.amount_minor if posting.before is not None else None,
            posting.after.amount_minor if posting.after is not None else None,
        )
        for entry in entries
        for posting in entry.postings
    ]


def predicted_messages(explanation: Explanation) -> list[tuple[str, str, bytes]]:
    messages = [message for one in every_rehearsal(explanation) for message in one.messages]
    return sorted((one.destination, one.routing_key, one.payload) for one in messages)


def predicted_message_ids(explanation: Explanation) -> list[str]:
    return sorted(message.message_id for one in explanation.rehearsals for message in one.messages)


async def actual_messages(parts: Parts) -> list[tuple[str, str, bytes]]:
    return sorted((row.destination, row.routing_key, row.payload) for row in await parts.rows(t.outbox))


async def row_counts(store: Store) -> dict[str, int]:
    """How many rows each table holds, the capabilities' own too; counters of SQLite are their values."""
    tables = [*metadata.sorted_tables]
    for capability in all_capabilities():
        tables += capability.tables.sorted_tables if capability.tables is not None else []
    async with store.reading() as conn:
        counts = {table.name: await conn.scalar(select(func.count()).select_from(table)) or 0 for table in tables}
        totals = select(func.coalesce(func.sum(t.received_totals.c.received), 0))
        return counts | {"received": int(await conn.scalar(totals) or 0)}
