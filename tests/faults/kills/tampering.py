"""Whether the judge would have noticed: the evidence of a good run, held against databases that were tampered with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tests.faults.books import Books
from tests.faults.kills.judge import Evidence, KillsJudge

EVENTS_MAX: Final = 10_000
"""Each question to the judge goes through everything: beyond this a long run would be much longer."""
FIRST_TOLD: Final = "(SELECT min(seq) FROM outbox WHERE destination = 'smart-communications')"
FIRST_OF_TWO: Final = """(SELECT min(seq) FROM outbox WHERE destination = 'smart-communications' AND chain = (
    SELECT chain FROM outbox WHERE destination = 'smart-communications' GROUP BY chain HAVING count(*) > 1 LIMIT 1))"""
TAMPERED: Final[Mapping[str, str]] = {
    "what comes was in the outbox": f"DELETE FROM outbox WHERE seq = {FIRST_TOLD}",
    "a message comes as it was stored": f"UPDATE outbox SET payload = payload || ' '::bytea WHERE seq = {FIRST_TOLD}",
    "a chain keeps its order": f"UPDATE outbox SET seq = (SELECT max(seq) + 1 FROM outbox) WHERE seq = {FIRST_OF_TWO}",
    "a record is read once by each reader": """
        DELETE FROM inbox WHERE seq = (SELECT min(seq) FROM inbox WHERE source = 'paypal-record-mail')""",
    "nothing accepted is lost": "DELETE FROM inbox WHERE seq = (SELECT min(seq) FROM inbox WHERE source = 'loymax')",
    "received = duplicates + conflicts + events": """
        UPDATE received_totals SET received = received + 1 WHERE source = 'loymax'
        AND slot = (SELECT min(slot) FROM received_totals WHERE source = 'loymax')""",
    "an order is there once, as it was asked for": "UPDATE pay_symbol_orders SET user_id = 'nobody'",
    "a wallet has what was paid in, less what was bought": "UPDATE pay_wallets SET user_id = user_id || '-x'",
    "a wish becomes one subscription": "UPDATE paypal_subscriptions SET custom_id = custom_id || '-x'",
    "a sale stands as PayPal says": "UPDATE paypal_payments SET amount_minor = amount_minor + 1",
    "a payment that was accepted is there once": "UPDATE paypay_payments SET idempotency_key = idempotency_key || '-x'",
    "an exchange that was accepted is there": """
        UPDATE paypay_cashback_request SET idempotency_key = idempotency_key || '-x'""",
}
"""A rule, and what breaks it."""


async def unnoticed(books: Books, evidence: Evidence) -> list[str]:
    """Which of the tampered databases the judge takes for good ones. All is as before in the end."""
    found = []
    for rule, statement in TAMPERED.items():
        await books.rows("BEGIN")
        try:
            await books.rows(statement)
            told = await KillsJudge(books).everything(evidence)
        finally:
            await books.rows("ROLLBACK")
        if not any(one.startswith(rule) for one in told):
            found.append(f"the judge does not notice: {rule}; it says {told[:3]}")
    return found
