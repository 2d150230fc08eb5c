"""The ledger accounts of bonuses, all in ``BONUS`` with four decimals.

loymax:bonus:<member>:<currency id>   what a member may spend (credit, running balance, never below zero)
loymax:debt:<member>:<currency id>    what a refund should have taken back but the member had spent (debit)
loymax:rewards                        bonuses given (debit)
loymax:redeemed                       bonuses spent (credit)
loymax:opening                        bonuses that members had before we knew them (debit)
"""

from __future__ import annotations

from typing import Final

from hub.ledger.model import Account
from hub.money import Money

BONUS: Final = "BONUS"
REWARDS: Final = Account("loymax:rewards", BONUS, "debit", running=False)
REDEEMED: Final = Account("loymax:redeemed", BONUS, "credit", running=False)
OPENING: Final = Account("loymax:opening", BONUS, "debit", running=False)


def bonus_account(member_id: str, currency_id: str) -> Account:
    """What a member may spend of one bonus currency."""
    return Account(f"loymax:bonus:{member_id}:{currency_id}", BONUS, "credit")


def debt_account(member_id: str, currency_id: str) -> Account:
    """What a member owes of one bonus currency."""
    return Account(f"loymax:debt:{member_id}:{currency_id}", BONUS, "debit")


def purchase_reference(purchase_id: str) -> str:
    """The one entry of a purchase."""
    return f"loymax:purchase:{purchase_id}"


def refund_reference(purchase_id: str) -> str:
    """The one entry of a refund, by the refund's own purchase id."""
    return f"loymax:refund:{purchase_id}"


def merge_reference(ceased_id: str) -> str:
    """The one entry of a merge: a member ceases once."""
    return f"loymax:merge:{ceased_id}"


def bonuses(amount_minor: int) -> Money:
    """So many ten-thousandths of a bonus."""
    return Money(amount_minor, BONUS)
