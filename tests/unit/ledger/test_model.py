from __future__ import annotations

from datetime import UTC, datetime

import pytest

from hub.ledger.errors import CurrencyMismatchError, InvalidEntryError
from hub.ledger.model import Account, Move, PostedEntry, transfer
from hub.money import AMOUNT_MINOR_MAX, Money, MoneyError

BANK = Account("bank:clearing", "VND", "debit", running=False)
WALLET = Account("wallet:1", "VND", "credit")
OTHER = Account("wallet:2", "VND", "credit")
YEN = Account("wallet:yen", "JPY", "credit")


def vnd(amount: int) -> Money:
    return Money(amount, "VND")


@pytest.mark.parametrize(
    "code", ["", "a b", "a\n", "a#b", "a#held#held", "#held", "x" * 201, "a\u00a0b", "a\u2028b", "a\x00"]
)
def test_a_code_that_could_be_misread_is_refused(code: str) -> None:
    with pytest.raises(InvalidEntryError):
        Account(code, "VND", "credit")


@pytest.mark.parametrize("code", ["wallet:1", "members:7f-0A_9", "ví:Nguyễn", "a"])
def test_a_code_of_one_word_is_accepted(code: str) -> None:
    assert Account(code, "VND", "credit").code == code


def test_an_account_needs_a_known_currency_and_side() -> None:
    with pytest.raises(MoneyError):
        Account("a", "QQQ", "credit")
    with pytest.raises(InvalidEntryError):
        Account("a", "VND", "left")  # type: ignore[arg-type]


def test_an_account_without_a_running_balance_has_no_floor() -> None:
    assert BANK.may_go_negative
    assert Account("bank:clearing", "VND", "debit", running=False, may_go_negative=True) == BANK


@pytest.mark.parametrize("amount", [0, -1, AMOUNT_MINOR_MAX + 1])
def test_a_move_carries_a_positive_bounded_amount(amount: int) -> None:
    with pytest.raises(InvalidEntryError):
        Move(BANK, WALLET, vnd(amount))


def test_a_move_has_two_accounts_of_one_currency() -> None:
    with pytest.raises(InvalidEntryError):
        Move(WALLET, WALLET, vnd(1))
    with pytest.raises(CurrencyMismatchError):
        Move(BANK, YEN, vnd(1))
    with pytest.raises(CurrencyMismatchError):
        Move(BANK, WALLET, Money(1, "JPY"))


def test_a_transfer_lowers_the_source_and_raises_the_target() -> None:
    move = transfer(WALLET, OTHER, vnd(5))
    entry = PostedEntry("r", "k", (move,), ((95, 5),), datetime.now(UTC))

    assert entry.posting_of(WALLET).delta == vnd(-5)
    assert (entry.posting_of(WALLET).before, entry.posting_of(WALLET).after) == (vnd(100), vnd(95))
    assert (entry.posting_of(OTHER).before, entry.posting_of(OTHER).after) == (vnd(0), vnd(5))
    with pytest.raises(InvalidEntryError):
        transfer(BANK, WALLET, vnd(5))
