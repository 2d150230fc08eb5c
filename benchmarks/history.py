"""A database with a past: rows of events long done, as they would lie there after a year, put in by plain SQL.

Triggers are off while it is filled (a past takes minutes with them), so what they keep is written by hand: the judge
checks the balances afterwards like any others.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.databases import connected

ROUTE = "credit"
FILL_S_MAX = 600.0

# In this order; $1 is how many, :route the number of the route that took them all.
# Ids rise with time, as the hub's own do; the hashes of identities do not.
_EVENT = "('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid"
_STATEMENTS: Sequence[str] = (
    f"""
    INSERT INTO inbox (seq, id, source, type, key, after, dedupe_id, routing_key, message_id, occurred_at, received_at,
                       content_type, payload, headers, traceparent, verdict, hops, matches)
    SELECT n, {_EVENT}, 'bench', 'bench.deposit', 'c' || n % 1000, '[]', 'past' || n, 'bench.deposit', 'past' || n,
           now() - interval '1 day', now() - interval '1 day', 'application/json',
           convert_to('{{"id": "past' || n || '", "note": "' || repeat('x', 500) || '"}}', 'UTF8'),
           '{{}}', '00-' || repeat('0', 31) || '1-' || repeat('0', 15) || '1-00', 'trusted', 0, 1
    FROM generate_series(1, $1::bigint) n
    """,
    f"""
    INSERT INTO identities (id_hash, same_hash, event_id)
    SELECT decode(md5('id' || n), 'hex'), decode(md5('same' || n), 'hex'), {_EVENT}
    FROM generate_series(1, $1::bigint) n
    """,
    f"""
    INSERT INTO deliveries (id, event_seq, event_id, route_id, lane, chain, barrier, unsure, state, attempts,
                            finished_at)
    SELECT n * 65536 + :route, n, {_EVENT}, :route, n % 256, n % 1000, false, false, 'done', 1, now()
    FROM generate_series(1, $1::bigint) n
    """,
    """
    INSERT INTO accounts (id, code, currency, side, running, may_go_negative, opened_at)
    VALUES (1, 'past:clearing', 'VND', 'debit', true, true, now()),
           (2, 'past:wallet', 'VND', 'credit', true, false, now())
    """,
    f"""
    INSERT INTO entries (id, reference, kind, event_id, delivery_id, reverses_fully, move_count, note, posted_at)
    SELECT n, 'past:' || n, 'deposit', {_EVENT}, n * 65536 + :route, false, 1, '', now()
    FROM generate_series(1, $1::bigint) n
    """,
    """
    INSERT INTO moves (id, entry_id, position, debit_account, debit_slot, debit_after,
                       credit_account, credit_slot, credit_after, amount, currency)
    SELECT n, n, 1, 1, 0, n, 2, 0, n, 1, 'VND' FROM generate_series(1, $1::bigint) n
    """,
    "INSERT INTO balances (account_id, slot, balance, last_move_id) VALUES (1, 0, $1, $1), (2, 0, $1, $1)",
    f"""
    INSERT INTO outbox (seq, message_id, delivery_id, event_id, destination, routing_key, key, lane, chain,
                        content_type, payload, headers, state, attempts, created_at, sent_at)
    SELECT n, 'past' || n, n * 65536 + :route, {_EVENT}, 'credited', 'bench.credited', 'c' || n % 1000,
           n % 256, n % 1000, 'application/json',
           convert_to('{{"id": "past' || n || '"}}', 'UTF8'), '{{}}', 'sent', 1, now(), now()
    FROM generate_series(1, $1::bigint) n
    """,
)
_SEQUENCES = ("inbox_seq", "outbox_seq", "ledger_accounts_seq", "ledger_entries_seq", "ledger_moves_seq")


async def fill(url: str, events: int) -> None:
    """Put so many events of the past into a prepared database, and vacuum it as autovacuum would have.

    Raises asyncpg.InsufficientPrivilegeError where the role may not switch triggers off.
    """
    async with connected(url) as connection:
        route = await connection.fetchval("SELECT id FROM routes WHERE name = $1", ROUTE)
        async with connection.transaction():
            await connection.execute("SET LOCAL session_replication_role = replica")
            for statement in _STATEMENTS:
                arguments = (events,) if "$1" in statement else ()
                await connection.execute(statement.replace(":route", str(route)), *arguments, timeout=FILL_S_MAX)
            for sequence in _SEQUENCES:
                await connection.execute(f"SELECT setval('{sequence}', $1)", events + 1)
        await connection.execute("VACUUM ANALYZE", timeout=FILL_S_MAX)
