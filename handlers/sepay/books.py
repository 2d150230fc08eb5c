"""The ledger accounts of the wallet: where a dong can be, and under which references it moves.

sepay:bank:<account number>   what we have at a bank (debit)
sepay:wallet:<wallet id>      what we owe a user (credit, with a running balance, never below zero)
sepay:suspense                money that came in and belongs to nobody yet (credit)
sepay:sales                   what orders have brought (credit)
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from hub.ledger.model import Account
from hub.money import Money

VND: Final = "VND"
SUSPENSE: Final = Account("sepay:suspense", VND, "credit", running=False)

SALES: Final = Account("sepay:sales", VND, "credit", running=False)

DEPOSIT: Final = "deposit"
SUSPEND: Final = "suspense"
PURCHASE: Final = "purchase"
ORDER_PAYMENT: Final = "order_payment"
REFUND: Final = "refund"
WITHDRAWAL: Final = "withdrawal"


def bank_account(account_number: str) -> Account:
    """Our account at a bank, by its main number."""
    return Account(f"sepay:bank:{account_number}", VND, "debit", running=False)


def wallet_account(wallet_id: UUID) -> Account:
    """A user's wallet."""
    return Account(f"sepay:wallet:{wallet_id}", VND, "credit")


def transfer_reference(sepay_tx_id: int) -> str:
    """The one entry that books a transfer when it comes in."""
    return f"sepay:transfer:{sepay_tx_id}"


def release_reference(sepay_tx_id: int) -> str:
    """The one entry that moves a held transfer from suspense to the wallet."""
    return f"sepay:release:{sepay_tx_id}"


def assign_reference(sepay_tx_id: int) -> str:
    """The one entry that moves a transfer from suspense to where a person says it belongs."""
    return f"sepay:assign:{sepay_tx_id}"


def refund_reference(sepay_tx_id: int) -> str:
    """The one entry that says that a transfer in suspense was sent back."""
    return f"sepay:refund:{sepay_tx_id}"


def purchase_reference(order_id: UUID) -> str:
    """The one entry that pays an order from a wallet."""
    return f"sepay:purchase:{order_id}"


def vnd(amount_minor: int) -> Money:
    """So many dong."""
    return Money(amount_minor, VND)
