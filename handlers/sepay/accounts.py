"""Our receiving bank accounts, as ``SEPAY_ACCOUNTS`` lists them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, StringConstraints

ACCOUNTS_MAX: Final = 50
_Number = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[0-9A-Za-z]{3,50}$")]


class ReceivingAccount(BaseModel):
    """One account that payers transfer to.

    ``account_number`` is the main account; ``va`` the virtual account in front of it, if any. SePay may name either of
    them in ``accountNumber`` or ``subAccount``. ``bank`` is the short name that SePay's QR service knows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    bank_code: Annotated[str, StringConstraints(strip_whitespace=True, to_upper=True, min_length=2, max_length=10)]
    account_number: _Number
    bank: str = Field(default="", validation_alias=AliasChoices("bank", "bank_short_name", "short_name"))
    bin: str | None = Field(default=None, pattern=r"^\d{6}$")
    va: _Number | None = None
    account_name: str = ""
    content_prefix: str = Field(default="", pattern=r"^[A-Z0-9]{0,12}$")
    """A word that the transfer's text must begin with, such as SEVQR for accounts at VietinBank."""
    default: bool = False

    @property
    def payee_number(self) -> str:
        """The number that a payer transfers to: the virtual account where there is one."""
        return self.va or self.account_number

    def content_of(self, code: str) -> str:
        """What the payer writes: the order code, behind the account's word where it wants one."""
        return f"{self.content_prefix} {code}" if self.content_prefix else code

    @property
    def payee_name(self) -> str:
        """The name shown to the payer."""
        return self.account_name or f"{self.bank_code} Account"

    @property
    def qr_bank(self) -> str:
        """The bank's short name for the QR link."""
        return self.bank or self.bank_code


@dataclass(frozen=True, slots=True)
class Accounts:
    """All receiving accounts. The default is the one marked so, else the first."""

    listed: tuple[ReceivingAccount, ...] = ()

    def for_payment(self, bank_code: str | None) -> ReceivingAccount | None:
        """The account of this bank, the default account when no bank is named; None when there is none."""
        wanted = [a for a in self.listed if bank_code is None or a.bank_code == bank_code.strip().upper()]
        return next((account for account in wanted if account.default), wanted[0] if wanted else None)

    def receiving(self, *numbers: str | None) -> ReceivingAccount | None:
        """The account that one of these numbers names, as main or as virtual account; None when it is not ours."""
        for number in numbers:
            for account in self.listed:
                if number and number in (account.account_number, account.va):
                    return account
        return None


def check_accounts(accounts: Sequence[ReceivingAccount]) -> None:
    """Raise ValueError when a number is listed twice, two are the default, or there are too many."""
    if len(accounts) > ACCOUNTS_MAX:
        raise ValueError(f"at most {ACCOUNTS_MAX} receiving accounts")
    numbers = [number for account in accounts for number in {account.account_number, account.va} if number]
    if len(numbers) != len(set(numbers)):
        raise ValueError("an account number is listed twice")
    if sum(account.default for account in accounts) > 1:
        raise ValueError("more than one account is marked as the default")
