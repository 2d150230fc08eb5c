"""The bank statement against the books, to the dong: what came in at the bank stands in the ledger, and nothing else.

Incoming transfers to our accounts are compared one by one and in sum. Outgoing ones are shown: they are made by people
at the bank, and only what an operator has written down (``wallet withdraw``, ``refund-note``) is in the books.
Source: docs/providers/sepay.md, "Reconciliation".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from handlers.sepay.accounts import Accounts, ReceivingAccount
from handlers.sepay.books import SUSPENSE, transfer_reference
from handlers.sepay.polling import in_batches, numbers_of
from handlers.sepay.settings import SepaySettings
from handlers.sepay.statement import StatementRow
from handlers.sepay.statement_api import StatementApi, Window
from handlers.sepay.tables import PayBankTransaction
from handlers.sepay.transfers import BankTransfer
from hub.errors import UsageError
from hub.ledger.read import find_account
from hub.ledger.tables import accounts, entries, moves

if TYPE_CHECKING:
    from hub.api import HubApi

BANK_PREFIX: Final = "sepay:bank:"

Kind = Literal["not_in_books", "not_at_bank", "another_amount", "another_account", "unreadable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One transfer on which the bank and the books do not agree. Amounts are dong; 0 = not there at all."""

    kind: Kind
    sepay_tx_id: int
    account_number: str
    at_bank_minor: int
    in_books_minor: int
    at: datetime | None = field(default=None, compare=False)
    """When the bank booked it, or the books, as far as either says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """What the comparison of a time gave. ``foreign`` transfers went to accounts that are not configured as ours."""

    window: Window
    transfers: int
    at_bank_minor: int
    in_books_minor: int
    out_at_bank_minor: int
    foreign: int
    in_suspense_minor: int
    differences: Sequence[Difference]

    @property
    def agrees(self) -> bool:
        """Whether bank and books say the same, to the dong."""
        return not self.differences and self.at_bank_minor == self.in_books_minor


@dataclass(frozen=True, slots=True)
class _Booked:
    """An incoming transfer as the ledger has it: which account was debited, with how much."""

    account_number: str
    amount_minor: int
    posted_at: datetime


async def reconcile(api: HubApi, window: Window) -> Reconciliation:
    """Compare the statement of this time with the books.

    Raises UsageError without SEPAY_API_TOKEN; StatementError, BusyError and RetryableError as the statement does.
    """
    settings: SepaySettings = api.settings_of("sepay")
    if not settings.api_token.get_secret_value():
        raise UsageError("SEPAY_API_TOKEN is not set: there is no statement to compare with")
    statement = await StatementApi(settings).rows(window)
    async with api.reading() as session:
        return await compare(session, statement, window, settings.receiving)


async def compare(
    session: AsyncSession, statement: Sequence[StatementRow], window: Window, ours: Accounts
) -> Reconciliation:
    """Compare these rows of the statement with what the books have for the same time of the bank."""
    booked = await _booked(session, window)
    numbers = await numbers_of(session, statement, ours)
    # What a person has settled by hand is ours as well: to an account that is not configured, or unreadable.
    own = [
        row for row in statement if row.transfer is None or _account(row.transfer, ours) or numbers[row.id] in booked
    ]
    transfers = [(row, row.transfer) for row in own if row.transfer is not None]
    incoming = [(row, transfer) for row, transfer in transfers if transfer.direction == "in"]
    unread = [row.id for row in own if row.transfer is None]
    by_hand = [booked[numbers[number]].amount_minor for number in unread if numbers[number] in booked]
    differences = [_difference("unreadable", number, "", 0, 0) for number in unread if numbers[number] not in booked]
    for row, transfer in incoming:
        found = booked.get(numbers[row.id])
        kind = _judge(transfer, found, ours)
        if kind is not None:
            in_books_minor = found.amount_minor if found else 0
            number = transfer.account_number
            found_one = _difference(kind, row.id, number, transfer.amount_minor, in_books_minor)
            differences.append(replace(found_one, at=transfer.booked_at))
    for gone in sorted(booked.keys() - {numbers[row.id] for row in own}):
        one = booked[gone]
        missed = _difference("not_at_bank", gone, one.account_number, 0, one.amount_minor)
        differences.append(replace(missed, at=one.posted_at))
    suspense = await find_account(await session.connection(), SUSPENSE.code)
    return Reconciliation(
        window=window,
        transfers=len(incoming) + len(by_hand),
        at_bank_minor=sum(transfer.amount_minor for _, transfer in incoming) + sum(by_hand),
        in_books_minor=sum(one.amount_minor for one in booked.values()),
        out_at_bank_minor=sum(transfer.amount_minor for _, transfer in transfers if transfer.direction == "out"),
        foreign=len(statement) - len(own),
        in_suspense_minor=suspense.balance.amount_minor if suspense else 0,
        differences=differences,
    )


def _judge(transfer: BankTransfer, found: _Booked | None, ours: Accounts) -> Kind | None:
    if found is None:
        return "not_in_books"
    if found.amount_minor != transfer.amount_minor:
        return "another_amount"
    # To an account that is not configured: a person has said which of ours it was.
    account = _account(transfer, ours)
    return None if account is None or found.account_number == account.account_number else "another_account"


async def _booked(session: AsyncSession, window: Window) -> Mapping[int, _Booked]:
    """Every incoming transfer of this time that the ledger has, by its number."""
    query = select(PayBankTransaction.sepay_tx_id).where(
        PayBankTransaction.transaction_date.between(window.since, window.until), PayBankTransaction.amount_in_minor > 0
    )
    numbers = {transfer_reference(number): number for number in await session.scalars(query)}
    booked: dict[int, _Booked] = {}
    for references in in_batches(list(numbers)):
        postings = (
            select(entries.c.reference, entries.c.posted_at, accounts.c.code, moves.c.amount)
            .join(moves, moves.c.entry_id == entries.c.id)
            .join(accounts, accounts.c.id == moves.c.debit_account)
            .where(entries.c.reference.in_(references), accounts.c.code.startswith(BANK_PREFIX))
        )
        for reference, posted_at, code, amount in await session.execute(postings):
            booked[numbers[reference]] = _Booked(code.removeprefix(BANK_PREFIX), int(amount), posted_at)
    return booked


def _account(transfer: BankTransfer, ours: Accounts) -> ReceivingAccount | None:
    return ours.receiving(transfer.account_number, transfer.sub_account)


def _difference(kind: Kind, number: int, account: str, at_bank_minor: int, in_books_minor: int) -> Difference:
    return Difference(
        kind=kind,
        sepay_tx_id=number,
        account_number=account,
        at_bank_minor=at_bank_minor,
        in_books_minor=in_books_minor,
    )
