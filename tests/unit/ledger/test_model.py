from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from hub.ledger import errors
from hub.ledger.errors import AccountMismatchError, CurrencyMismatchError, InvalidEntryError, LedgerError
from hub.ledger.model import ACCOUNT_CODE_MAX, REFERENCE_MAX, Account, Hold, Move, PostedEntry, transfer
from hub.ledger.pending import check_entry, check_same, opposite
from hub.ledger.tables import KIND_MAX, MOVES_PER_ENTRY_MAX
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
    with pytest.raises(InvalidEntryError) as refused:
        Account(code, "VND", "credit")

    assert str(refused.value) == f"{code[:60]!r} cannot be the code of an account"


@pytest.mark.parametrize("code", ["wallet:1", "members:7f-0A_9", "ví:Nguyễn", "a", "x" * ACCOUNT_CODE_MAX])
def test_a_code_of_one_word_is_accepted(code: str) -> None:
    assert Account(code, "VND", "credit").code == code


def test_an_account_needs_a_known_currency_and_side() -> None:
    with pytest.raises(MoneyError):
        Account("a", "QQQ", "credit")
    with pytest.raises(InvalidEntryError, match=r"^account a: side is debit or credit, found 'left'$"):
        Account("a", "VND", "left")  # type: ignore[arg-type]


def test_what_is_held_of_an_account_waits_beside_it() -> None:
    held = Account("wallet:1", "VND", "credit", may_go_negative=True).held

    assert held == Account("wallet:1#held", "VND", "credit")
    assert (held.is_held, WALLET.is_held) == (True, False)


def test_an_account_without_a_running_balance_has_no_floor() -> None:
    assert BANK.may_go_negative
    assert Account("bank:clearing", "VND", "debit", running=False, may_go_negative=True) == BANK


@pytest.mark.parametrize("amount", [0, -1, AMOUNT_MINOR_MAX + 1])
def test_a_move_carries_a_positive_bounded_amount(amount: int) -> None:
    words = f"a move carries from 1 to {AMOUNT_MINOR_MAX} minor units, found {amount} VND"
    with pytest.raises(InvalidEntryError, match=f"^{words}$"):
        Move(BANK, WALLET, vnd(amount))


@pytest.mark.parametrize("amount", [1, AMOUNT_MINOR_MAX])
def test_a_move_may_carry_the_least_and_the_most(amount: int) -> None:
    assert Move(BANK, WALLET, vnd(amount)).amount == vnd(amount)


def test_a_move_has_two_accounts_of_one_currency() -> None:
    with pytest.raises(InvalidEntryError, match=r"^account wallet:1 is on both sides of a move$"):
        Move(WALLET, WALLET, vnd(1))
    with pytest.raises(CurrencyMismatchError, match=r"^account wallet:yen is kept in JPY, found VND$"):
        Move(BANK, YEN, vnd(1))
    with pytest.raises(CurrencyMismatchError, match=r"^account bank:clearing is kept in VND, found JPY$"):
        Move(BANK, WALLET, Money(1, "JPY"))


def test_a_transfer_lowers_the_source_and_raises_the_target() -> None:
    move = transfer(WALLET, OTHER, vnd(5))
    entry = PostedEntry("r", "k", (move,), ((95, 5),), datetime.now(UTC))

    assert entry.posting_of(WALLET).delta == vnd(-5)
    assert (entry.posting_of(WALLET).before, entry.posting_of(WALLET).after) == (vnd(100), vnd(95))
    assert (entry.posting_of(OTHER).before, entry.posting_of(OTHER).after) == (vnd(0), vnd(5))
    words = "bank:clearing and wallet:1 have different sides: say debit and credit"
    with pytest.raises(InvalidEntryError, match=f"^{words}$"):
        transfer(BANK, WALLET, vnd(5))


def test_a_transfer_between_what_we_have_lowers_the_source_too() -> None:
    till = Account("till", "VND", "debit")
    move = transfer(BANK, till, vnd(5))
    entry = PostedEntry("r", "k", (move,), ((5, None),), datetime.now(UTC))

    assert (move.debit, move.credit) == (till, BANK)
    assert [(one.account, one.side, one.amount, one.delta) for one in entry.postings] == [
        ("till", "debit", vnd(5), vnd(5)),
        ("bank:clearing", "credit", vnd(5), vnd(-5)),
    ]
    assert (entry.posting_of("till").before, entry.posting_of("till").after) == (vnd(0), vnd(5))
    assert (entry.posting_of(BANK).before, entry.posting_of(BANK).after) == (None, None)


def test_an_entry_tells_the_last_posting_of_an_account_and_knows_no_other() -> None:
    moves = (transfer(WALLET, OTHER, vnd(5)), transfer(OTHER, WALLET, vnd(2)))
    entry = PostedEntry("r", "k", moves, ((5, 5), (3, 7)), datetime.now(UTC))

    assert (entry.posting_of(WALLET).delta, entry.posting_of("wallet:2").after) == (vnd(2), vnd(3))
    with pytest.raises(KeyError, match="bank:clearing"):
        entry.posting_of(BANK)


def test_what_a_hold_took_gave_back_and_still_has_is_its_amount() -> None:
    hold = Hold("h", WALLET, vnd(10), datetime.now(UTC), captured_minor=3, released_minor=2)

    assert (hold.captured, hold.remaining) == (vnd(3), vnd(5))


def test_an_entry_is_taken_back_from_its_end_and_what_was_held_goes_to_whom_it_belongs() -> None:
    moves = (Move(WALLET.held, OTHER, vnd(5)), Move(OTHER, WALLET, vnd(2)))
    entry = PostedEntry("r", "k", moves, (), datetime.now(UTC))

    back = opposite(entry, WALLET)

    assert back == (Move(WALLET, OTHER, vnd(2)), Move(OTHER, WALLET, vnd(5)))
    assert opposite(entry, None)[1] == Move(OTHER, WALLET.held, vnd(5))


def test_setting_money_aside_is_not_taken_back_by_an_entry() -> None:
    entry = PostedEntry("h", "hold", (Move(WALLET, WALLET.held, vnd(5)),), (), datetime.now(UTC))

    with pytest.raises(InvalidEntryError, match=r"^'h' only set money aside or gave it back: void the hold instead$"):
        opposite(entry, WALLET)


@pytest.mark.parametrize(
    ("reference", "kind", "moves"),
    [("r", "k", 1), ("r" * REFERENCE_MAX, "k" * KIND_MAX, MOVES_PER_ENTRY_MAX)],
    ids=["least", "most"],
)
def test_an_entry_has_its_bounds(reference: str, kind: str, moves: int) -> None:
    def entry(reference: str, kind: str, moves: int) -> PostedEntry:
        return PostedEntry(reference, kind, (Move(BANK, WALLET, vnd(1)),) * moves, (), datetime.now(UTC))

    check_entry(entry(reference, kind, moves))
    beyond = -1 if moves == 1 else 1
    words = f"an entry needs a reference of 1 to {REFERENCE_MAX} characters and a kind"
    with pytest.raises(InvalidEntryError, match=f"^{words}$"):
        check_entry(entry("r" * (len(reference) + beyond), kind, moves))
    with pytest.raises(InvalidEntryError, match=f"^{words}$"):
        check_entry(entry(reference, "k" * (len(kind) + beyond), moves))
    words = f"an entry has 1 to {MOVES_PER_ENTRY_MAX} moves, found {moves + beyond}"
    with pytest.raises(InvalidEntryError, match=f"^{words}$"):
        check_entry(entry(reference, kind, moves + beyond))


def test_one_code_is_one_account_and_a_difference_is_told() -> None:
    check_same(WALLET, Account("wallet:1", "VND", "credit"))
    with pytest.raises(AccountMismatchError) as refused:
        check_same(BANK, Account("bank:clearing", "JPY", "credit"))

    assert refused.value.account == "bank:clearing"
    assert str(refused.value) == (
        "account bank:clearing is defined as VND debit summed, may go negative, "
        "found JPY credit running, not below zero"
    )


@pytest.mark.parametrize(
    ("refusal", "words", "facts"),
    [
        (
            lambda: errors.InsufficientFundsError("a", balance=vnd(1), amount=vnd(2)),
            "account a has 1 VND, not enough for 2 VND",
            {"account": "a", "balance": vnd(1), "amount": vnd(2)},
        ),
        (lambda: errors.DuplicateReferenceError("r"), "the reference 'r' has been posted before", {"reference": "r"}),
        (
            lambda: errors.CurrencyMismatchError("a", expected="VND", found="JPY"),
            "account a is kept in VND, found JPY",
            {"account": "a", "expected": "VND", "found": "JPY"},
        ),
        (lambda: errors.UnknownEntryError("r"), "no entry 'r'", {"reference": "r"}),
        (
            lambda: errors.AlreadyReversedError("r"),
            "the entry 'r' has been reversed before, in whole or in part",
            {"reference": "r"},
        ),
        (lambda: errors.UnknownHoldError("h"), "hold 'h': there is none", {"reference": "h"}),
        (
            lambda: errors.HoldClosedError("h", "voided"),
            "hold 'h': it is voided",
            {"reference": "h", "state": "voided"},
        ),
        (
            lambda: errors.HoldExceededError("h", remaining=vnd(1), amount=vnd(2)),
            "hold 'h': 1 VND are left, not 2 VND",
            {"reference": "h", "remaining": vnd(1), "amount": vnd(2)},
        ),
        (lambda: errors.HoldNotDueError("h"), "hold 'h': its expiry has not come", {"reference": "h"}),
    ],
)
def test_a_refusal_of_the_books_says_what_and_why(
    refusal: Callable[[], LedgerError], words: str, facts: dict[str, object]
) -> None:
    error = refusal()

    assert str(error) == words
    assert {name: getattr(error, name) for name in facts} == facts
