"""What a cheque says about bonuses, summed per bonus currency.

The direction comes from the list in which a line stands, never from the sign of its amount.
Source: docs/providers/loymax.md, "Loyalty effects".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from handlers.loyalty.books import BONUS
from hub.errors import PermanentError
from hub.money import Money
from schemas.loymax import PurchaseData, Reward, Withdraw

BONUS_TYPE = "Bonus"


@dataclass(frozen=True, slots=True)
class BonusSum:
    """The bonuses of one currency on a cheque, in ten-thousandths; both are positive or zero."""

    currency_id: str
    rewarded_minor: int = 0
    withdrawn_minor: int = 0


def sum_bonuses(cheque: PurchaseData) -> Sequence[BonusSum]:
    """One sum per bonus currency, in the order of their ids; other rewards and withdraws move no bonuses.

    Raises PermanentError when a bonus line does not say which currency it is.
    """
    sums: dict[str, BonusSum] = {}
    for line in _bonus_lines(cheque):
        if line.currency_id is None:
            raise PermanentError(f"purchase {cheque.purchase_id}: a line of bonuses names no currency")
        known = sums.get(line.currency_id, BonusSum(line.currency_id))
        amount_minor = Money.parse(abs(line.amount), BONUS).amount_minor
        if isinstance(line, Reward):
            known = BonusSum(known.currency_id, known.rewarded_minor + amount_minor, known.withdrawn_minor)
        else:
            known = BonusSum(known.currency_id, known.rewarded_minor, known.withdrawn_minor + amount_minor)
        sums[line.currency_id] = known
    moved = (found for found in sums.values() if found.rewarded_minor or found.withdrawn_minor)
    return sorted(moved, key=lambda found: found.currency_id)


def warnings_of(cheque: PurchaseData) -> list[str]:
    """What a person may want to know but nobody has to act on: positions that do not add up to their line."""
    return [
        f"the positions of {'reward' if isinstance(line, Reward) else 'withdraw'} {number} do not add up to its amount"
        for number, line in enumerate(_bonus_lines(cheque), start=1)
        if not line.positions_match
    ]


def _bonus_lines(cheque: PurchaseData) -> Iterator[Reward | Withdraw]:
    yield from (line for line in cheque.rewards if line.reward_type == BONUS_TYPE)
    yield from (line for line in cheque.withdraws if line.withdraw_type == BONUS_TYPE)
