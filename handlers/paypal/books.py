"""The ledger accounts of PayPal's money, per currency, and under which references it moves.

Those of a further account of ours begin with its name instead of ``paypal``.

paypal:clearing:<currency>   what PayPal owes us and lets us have (debit)
paypal:held:<currency>       what PayPal owes us and keeps back for now (debit)
paypal:fees:<currency>       what PayPal kept of payments (debit)
paypal:revenue:<currency>    what subscriptions have brought, fees included (credit)
"""

from __future__ import annotations

from typing import Final

from handlers.paypal.accounts import MAIN
from hub.ledger import Account, Move
from hub.money import Money

PAYMENT: Final = "subscription_payment"
FEE: Final = "payment_fee"
RELEASE: Final = "payment_release"
REFUND: Final = "subscription_refund"


def clearing(currency: str, owner: str | None = None) -> Account:
    return Account(f"{owner or MAIN}:clearing:{currency}", currency, "debit", running=False)


def held(currency: str, owner: str | None = None) -> Account:
    return Account(f"{owner or MAIN}:held:{currency}", currency, "debit", running=False)


def fees(currency: str, owner: str | None = None) -> Account:
    return Account(f"{owner or MAIN}:fees:{currency}", currency, "debit", running=False)


def revenue(currency: str, owner: str | None = None) -> Account:
    return Account(f"{owner or MAIN}:revenue:{currency}", currency, "credit", running=False)


def payment_moves(gross: Money, fee: Money | None, funds: Account, owner: str | None = None) -> list[Move]:
    """A payment: the net to where PayPal has it, the fee to the fees, the gross to revenue."""
    earned = revenue(gross.currency, owner)
    fee = fee or Money.zero(gross.currency)
    moves = [Move(funds, earned, gross - fee)] if gross > fee else []
    return [*moves, Move(fees(gross.currency, owner), earned, fee)] if fee else moves


def refund_moves(gross: Money, fee: Money, funds: Account, owner: str | None = None) -> list[Move]:
    """The reverse: what came back of the fee, and the rest out of the money that we had."""
    earned = revenue(gross.currency, owner)
    moves = [Move(earned, funds, gross - fee)] if gross > fee else []
    return [*moves, Move(earned, fees(gross.currency, owner), fee)] if fee else moves


def sale_reference(payment_id: str) -> str:
    """The one entry that books a payment."""
    return f"paypal:sale:{payment_id}"


def fee_reference(payment_id: str) -> str:
    """The one entry that books a fee which PayPal told later."""
    return f"paypal:fee:{payment_id}"


def release_reference(payment_id: str) -> str:
    """The one entry that moves held money to the clearing account."""
    return f"paypal:release:{payment_id}"


def refund_reference(refund_id: str) -> str:
    """The one entry that books a refund or reversal."""
    return f"paypal:refund:{refund_id}"
