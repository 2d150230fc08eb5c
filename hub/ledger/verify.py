"""The proof that the books are right: everything recomputed from the moves alone, in one snapshot.

The database refuses to let any of this go wrong; here is asked whether it did, which also covers a restored backup, a
migration by hand and a disk that lied.
"""

# ruff: noqa: S608 - these texts are put together from constants
from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.ledger.model import HELD_SUFFIX

DIFFERENCES_MAX = 100
"""How many differences of each sort are reported."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Something in the books that is not as it must be. Amounts are in minor units."""

    sort: str
    subject: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.sort}: {self.subject}: expected {self.expected}, found {self.found}"


async def verify(conn: AsyncConnection) -> list[Difference]:
    """Every difference between the moves and what is said about them; an empty list when the books are right.

    ``conn`` must be at the beginning of a transaction, which then sees one moment. Reads everything once.
    """
    if conn.dialect.name == "postgresql":
        await conn.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        # A connection that is pinned to look-ups would take for ever over sums of whole tables.
        for setting in ("hashjoin", "mergejoin", "seqscan"):
            await conn.execute(text(f"SET LOCAL enable_{setting} = on"))
    differences = []
    for sort, query in CHECKS.items():
        rows = await conn.execute(text(f"{query} LIMIT {DIFFERENCES_MAX}"))
        differences += [Difference(sort, *(str(value) for value in row)) for row in rows]
    return differences


_TOTALS = """
(SELECT account_id, slot, sum(delta) AS total, max(move_id) AS last_move_id FROM postings GROUP BY account_id, slot)
""".strip()

CHECKS: dict[str, str] = {
    "balance": f"""
SELECT a.code || ' slot ' || b.slot, coalesce(t.total, 0), b.balance
FROM balances b LEFT JOIN accounts a ON a.id = b.account_id
LEFT JOIN {_TOTALS} t ON t.account_id = b.account_id AND t.slot = b.slot
WHERE b.balance <> coalesce(t.total, 0)""",
    "last move of a balance": f"""
SELECT a.code || ' slot ' || b.slot, coalesce(t.last_move_id, 0), b.last_move_id
FROM balances b LEFT JOIN accounts a ON a.id = b.account_id
LEFT JOIN {_TOTALS} t ON t.account_id = b.account_id AND t.slot = b.slot
WHERE b.last_move_id <> coalesce(t.last_move_id, 0)""",
    "moves without a balance": f"""
SELECT 'account ' || t.account_id || ' slot ' || t.slot, t.total, 'no balance'
FROM {_TOTALS} t LEFT JOIN balances b ON b.account_id = t.account_id AND b.slot = t.slot
WHERE b.account_id IS NULL""",
    "balances of an account": """
SELECT a.code, CASE WHEN a.running THEN 'one, in slot 0' ELSE 'at least one' END, count(b.slot)
FROM accounts a LEFT JOIN balances b ON b.account_id = a.id
GROUP BY a.id, a.code, a.running HAVING count(b.slot) = 0 OR (a.running AND (count(b.slot) > 1 OR max(b.slot) > 0))""",
    "balance without an account": """
SELECT 'account ' || b.account_id || ' slot ' || b.slot, 'an account', 'none'
FROM balances b LEFT JOIN accounts a ON a.id = b.account_id WHERE a.id IS NULL""",
    "running balance": """
SELECT a.code || ' move ' || r.move_id, r.total, coalesce(CAST(r.balance_after AS text), 'none')
FROM (SELECT account_id, move_id, balance_after,
             sum(delta) OVER (PARTITION BY account_id, slot ORDER BY move_id) AS total FROM postings) r
JOIN accounts a ON a.id = r.account_id
WHERE a.running AND (r.balance_after IS NULL OR r.balance_after <> r.total)""",
    "running balance of a summed account": """
SELECT a.code || ' move ' || p.move_id, 'none', p.balance_after
FROM postings p JOIN accounts a ON a.id = p.account_id WHERE NOT a.running AND p.balance_after IS NOT NULL""",
    "balance below zero": """
SELECT a.code || ' move ' || r.move_id, 'not below zero', r.total
FROM (SELECT account_id, move_id,
             sum(delta) OVER (PARTITION BY account_id, slot ORDER BY move_id) AS total FROM postings) r
JOIN accounts a ON a.id = r.account_id WHERE NOT a.may_go_negative AND r.total < 0""",
    "move": """
SELECT 'move ' || m.id, 'one entry, two accounts, one currency, an amount above zero',
       m.amount || ' ' || m.currency || ' from ' || coalesce(d.code, 'nowhere') || ' to ' || coalesce(c.code, 'nowhere')
       || CASE WHEN e.id IS NULL THEN ' without an entry' ELSE '' END
FROM moves m LEFT JOIN entries e ON e.id = m.entry_id
LEFT JOIN accounts d ON d.id = m.debit_account LEFT JOIN accounts c ON c.id = m.credit_account
WHERE e.id IS NULL OR d.id IS NULL OR c.id IS NULL OR d.id = c.id OR m.amount <= 0
   OR d.currency <> m.currency OR c.currency <> m.currency OR m.position > e.move_count""",
    "moves of an entry": """
SELECT e.reference, e.move_count, count(m.id)
FROM entries e LEFT JOIN moves m ON m.entry_id = e.id
GROUP BY e.id, e.reference, e.move_count HAVING count(m.id) <> e.move_count""",
    "reversed entry": """
SELECT e.reference, 'an older entry', e.reverses
FROM entries e LEFT JOIN entries o ON o.id = e.reverses AND o.id < e.id
WHERE e.reverses IS NOT NULL AND o.id IS NULL""",
    "sum of a currency": """
SELECT a.currency, 0, sum(CASE WHEN a.side = 'debit' THEN b.balance ELSE -b.balance END)
FROM balances b JOIN accounts a ON a.id = b.account_id
GROUP BY a.currency HAVING sum(CASE WHEN a.side = 'debit' THEN b.balance ELSE -b.balance END) <> 0""",
    "held account": f"""
SELECT a.code, coalesce(h.remaining, 0), b.balance
FROM accounts a JOIN balances b ON b.account_id = a.id
LEFT JOIN (SELECT held_account_id, sum(amount - captured - released) AS remaining FROM holds GROUP BY held_account_id) h
ON h.held_account_id = a.id
WHERE a.code LIKE '%{HELD_SUFFIX}' AND b.balance <> coalesce(h.remaining, 0)""",
    "hold": """
SELECT h.reference, coalesce(sum(p.delta), 0), h.amount - h.captured - h.released
FROM holds h LEFT JOIN entries e ON e.hold_id = h.id
LEFT JOIN postings p ON p.entry_id = e.id AND p.account_id = h.held_account_id
GROUP BY h.id, h.reference, h.amount, h.captured, h.released
HAVING coalesce(sum(p.delta), 0) <> h.amount - h.captured - h.released""",
    "state of a hold": """
SELECT h.reference, CASE WHEN h.captured + h.released < h.amount THEN 'open' ELSE 'closed' END, h.state
FROM holds h WHERE (h.state = 'open') <> (h.captured + h.released < h.amount)""",
}
"""What must not be found, by name: each query gives a subject, what is expected and what is there."""
