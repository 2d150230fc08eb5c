"""Messages of the operators' desk: what people order about money in suspense and wallets, and what others hear of it.

Amounts are whole dong; ``by`` says who, ``note`` why. Source: docs/providers/sepay.md, "Operators".
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel

from schemas.sepay import UserId

By = Annotated[str, Field(default="", max_length=255)]
Note = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]


class TransferAssignment(BaseModel):
    """Money in suspense is for this intent, or for this user's wallet: exactly one of the two."""

    model_config = ConfigDict(frozen=True)

    sepay_tx_id: int
    intent_id: UUID | None = None
    user_id: UserId | None = None
    by: By = ""
    note: Note

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.intent_id is None) == (self.user_id is None):
            raise ValueError("expected either an intent or a user")
        return self


class TransferRefundNote(BaseModel):
    """Money in suspense has been transferred back by hand: SePay itself cannot."""

    model_config = ConfigDict(frozen=True)

    sepay_tx_id: int
    by: By = ""
    note: Note


class TransferSettlement(BaseModel):
    """A transfer that is in no account of the books came to this account of ours; None: to the one that it names.

    ``amount`` and ``booked_at`` stand in for what could not be read.
    """

    model_config = ConfigDict(frozen=True)

    sepay_tx_id: int
    account_number: str | None = Field(default=None, max_length=50)
    amount: Annotated[int, Field(gt=0, le=10**15)] | None = None
    booked_at: datetime | None = None
    by: By = ""
    note: Note


class TransferSettled(BaseModel):
    """What became of a transfer that a person has settled."""

    model_config = ConfigDict(frozen=True)

    sepay_tx_id: int
    outcome: str
    amount: int
    currency: str
    account_number: str


class TransferResolved(BaseModel):
    """A person has decided on a transfer that needed review."""

    model_config = ConfigDict(frozen=True)

    sepay_tx_id: int
    resolution: Literal["assigned", "refunded", "settled"]
    amount: int
    currency: str
    user_id: str | None = None
    by: str
    note: str


class WalletAdjustment(BaseModel):
    """Give a user money back into the wallet, or take out what was paid to the user at the bank."""

    model_config = ConfigDict(frozen=True)

    user_id: UserId
    amount: Annotated[int, Field(gt=0, le=10**15)]
    currency: Literal["VND"] = "VND"
    order_id: UUID | None = None
    by: By = ""
    note: Note


class OrderRefund(BaseModel):
    """A paid order is given back into its user's wallet, with the licences' time unless they are kept."""

    model_config = ConfigDict(frozen=True)

    order_id: UUID
    keep_licenses: bool = False
    by: By = ""
    note: Note


class LicenseOrder(BaseModel):
    """An operator suspends, restores or revokes a licence."""

    model_config = ConfigDict(frozen=True)

    license_id: UUID
    by: By = ""
    note: Note


class WalletAdjusted(BaseModel):
    """An operator has changed a wallet; ``ledger_id`` names the journal entry."""

    model_config = ConfigDict(frozen=True)

    user_id: str
    wallet_id: UUID
    ledger_id: UUID
    kind: Literal["refund", "withdrawal"]
    amount: int
    currency: str
    balance_after: int
    order_id: UUID | None = None
    note: str


class CallbackReceived(BaseModel):
    """Somebody says that a transfer was made; the bank statement decides whether it was."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)

    content: str = Field(max_length=10_000)
    transfer_amount: object
    transfer_type: Literal["in", "out"]
    reference_code: str | None = Field(default=None, max_length=255)
    account_number: str | None = Field(default=None, max_length=50)
