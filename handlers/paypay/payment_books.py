"""The ledger accounts of payments, in JPY.

paypay:yen:receivable       what PayPay owes us for payments (debit)
paypay:yen:sales            what was sold for it (credit)
paypay:yen:suspense         what came although nobody wanted it any more, until it is given back or kept (credit)
paypay:yen:authorizations   what users have promised and not paid (debit), against …
paypay:yen:to-capture       … what may still be taken of it (credit); nobody's money, undone when it ends
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from handlers.paypay.books import JPY
from hub.ledger import Account, Move
from hub.money import Money

RECEIVABLE: Final = Account("paypay:yen:receivable", JPY, "debit", running=False)
SALES: Final = Account("paypay:yen:sales", JPY, "credit", running=False)
SUSPENSE: Final = Account("paypay:yen:suspense", JPY, "credit", running=False)
AUTHORIZATIONS: Final = Account("paypay:yen:authorizations", JPY, "debit", running=False)
TO_CAPTURE: Final = Account("paypay:yen:to-capture", JPY, "credit", running=False)


def payment_reference(payment_id: UUID, number: int = 1) -> str:
    """Money that was taken, the ``number``-th time.

    ``:kept`` where it left suspense for the sales, ``:undone`` where it was cancelled.
    """
    return f"paypay:payment:{payment_id}" if number <= 1 else f"paypay:payment:{payment_id}:{number}"


def authorization_reference(payment_id: UUID) -> str:
    """A promise; ``:ended`` when it was kept or is over."""
    return f"paypay:authorization:{payment_id}"


def refund_reference(refund_id: UUID) -> str:
    """Money that was given back."""
    return f"paypay:refund:{refund_id}"


def taken(amount_jpy: int) -> Move:
    """A payment."""
    return Move(debit=RECEIVABLE, credit=SALES, amount=Money(amount_jpy, JPY))


def taken_unwanted(amount_jpy: int) -> Move:
    """A payment that nobody wants any more."""
    return Move(debit=RECEIVABLE, credit=SUSPENSE, amount=Money(amount_jpy, JPY))


def kept(amount_jpy: int) -> Move:
    """Such a payment was wanted after all."""
    return Move(debit=SUSPENSE, credit=SALES, amount=Money(amount_jpy, JPY))


def promised(amount_jpy: int) -> Move:
    """An authorization."""
    return Move(debit=AUTHORIZATIONS, credit=TO_CAPTURE, amount=Money(amount_jpy, JPY))


def given_back(amount_jpy: int, *, of: Account = SALES) -> Move:
    """A refund, of a sale or of what was in suspense."""
    return Move(debit=of, credit=RECEIVABLE, amount=Money(amount_jpy, JPY))
