"""The ledger accounts of the exchange. Points are ``POINT`` without decimals, yen are ``JPY``.

paypay:points:<member>:<source>:<last day>   what a member may use (credit, running balance, never below zero)
paypay:points:issued                         points that the shop gave (debit)
paypay:points:spent                          points that became yen (credit)
paypay:yen:campaign-wallet                   yen that left our wallet at PayPay (debit, so it is negative)
paypay:yen:members                           yen that members were paid (debit)
"""

from __future__ import annotations

from datetime import date
from typing import Final
from uuid import UUID

from handlers.paypay.tables_members import NEVER
from hub.ledger import Account, Move
from hub.money import Money

POINT: Final = "POINT"
JPY: Final = "JPY"
ISSUED: Final = Account("paypay:points:issued", POINT, "debit", running=False)
SPENT: Final = Account("paypay:points:spent", POINT, "credit", running=False)
CAMPAIGN_WALLET: Final = Account("paypay:yen:campaign-wallet", JPY, "debit", running=False)
MEMBERS_PAID: Final = Account("paypay:yen:members", JPY, "debit", running=False)


def lot_account(member_id: str, source: str, last_day: date) -> Account:
    """The points of one source that a member can use until one day."""
    end = "never" if last_day == NEVER else last_day.isoformat()
    return Account(f"paypay:points:{member_id}:{source}:{end}", POINT, "credit")


def hold_reference(request_id: UUID, position: int) -> str:
    """The hold of one lot's points."""
    return f"paypay:exchange:{request_id}:{position}"


def spend_reference(request_id: UUID, position: int) -> str:
    """The end of that hold when the yen were paid; ``<hold>#void`` when they were not."""
    return f"paypay:spend:{request_id}:{position}"


def late_spend_reference(request_id: UUID) -> str:
    """The points of an exchange that were released, and spent after all."""
    return f"paypay:spend:{request_id}:late"


def cashback_reference(request_id: UUID) -> str:
    """The yen of an exchange."""
    return f"paypay:cashback:{request_id}"


def undone_reference(request_id: UUID) -> str:
    """The yen of an exchange that PayPay has not paid after all."""
    return f"{cashback_reference(request_id)}:undone"


def return_reference(reversal_id: UUID) -> str:
    """The points that a reversal gave back."""
    return f"paypay:return:{reversal_id}"


def reversal_reference(reversal_id: UUID) -> str:
    """The yen that a reversal took back."""
    return f"paypay:reversal:{reversal_id}"


def grant_reference(grant_id: str) -> str:
    """Points that the shop gave."""
    return f"paypay:grant:{grant_id}"


def points(amount: int) -> Money:
    """So many points."""
    return Money(amount, POINT)


def yen(amount: int) -> Money:
    """So many yen."""
    return Money(amount, JPY)


def paid(amount_jpy: int) -> Move:
    """Yen go from our wallet to a member."""
    return Move(debit=MEMBERS_PAID, credit=CAMPAIGN_WALLET, amount=yen(amount_jpy))


def taken_back(amount_jpy: int) -> Move:
    """Yen come back from a member."""
    return Move(debit=CAMPAIGN_WALLET, credit=MEMBERS_PAID, amount=yen(amount_jpy))
