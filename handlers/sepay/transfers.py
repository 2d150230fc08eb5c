"""A transfer as SePay reports it, read into what we can rely on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, Literal, TypeAlias

from handlers.sepay.bank_values import bank_time, dong
from handlers.sepay.matching import TransferText
from schemas.sepay import Transfer

Direction: TypeAlias = Literal["in", "out"]

ACCOUNT_CHARS_MAX: Final = 50
CODE_CHARS_MAX: Final = 64
GATEWAY_CHARS_MAX: Final = 100
REFERENCE_CHARS_MAX: Final = 100
TEXT_CHARS_MAX: Final = 10_000
UUID_CHARS: Final = 36
BALANCE_MINOR_MAX: Final = 10**18


@dataclass(frozen=True, slots=True, kw_only=True)
class BankTransfer:
    """One transfer that the bank has booked. ``booked_at`` is UTC; ``amount_minor`` is positive in both directions."""

    id: int
    direction: Direction
    amount_minor: int
    booked_at: datetime
    account_number: str
    sub_account: str
    text: TransferText
    reference: str
    gateway: str
    accumulated_minor: int | None
    provider_uuid: str = ""
    """The name of the transfer in version 2 of the transaction list, where it was read there."""


def is_test(transfer: Transfer) -> bool:
    """Whether this is the dashboard's test delivery: it stands for no money."""
    return transfer.id == 0 or TransferText(content=_text(transfer.content, TEXT_CHARS_MAX)).is_test


def read_transfer(transfer: Transfer) -> BankTransfer:
    """Read what the handler needs. Raises ValueError, which says which field is wrong and never its value."""
    return BankTransfer(
        id=transfer.id,
        direction=_direction(transfer.transfer_type),
        amount_minor=dong(transfer.transfer_amount),
        booked_at=bank_time(transfer.transaction_date),
        account_number=_text(transfer.account_number, ACCOUNT_CHARS_MAX),
        sub_account=_text(transfer.sub_account, ACCOUNT_CHARS_MAX),
        text=TransferText(
            code=_text(transfer.code, CODE_CHARS_MAX),
            content=_text(transfer.content, TEXT_CHARS_MAX),
            description=_text(transfer.description, TEXT_CHARS_MAX),
        ),
        reference=_text(transfer.reference_code, REFERENCE_CHARS_MAX),
        gateway=_text(transfer.gateway, GATEWAY_CHARS_MAX),
        accumulated_minor=_balance(transfer.accumulated),
        provider_uuid=_text((transfer.model_extra or {}).get("providerUuid"), UUID_CHARS),
    )


def _direction(value: object) -> Direction:
    if value == "in":
        return "in"
    if value == "out":
        return "out"
    raise ValueError("transferType is neither in nor out")


def _text(value: object, chars_max: int) -> str:
    # Databases refuse the character NUL; the event keeps the bytes as they came.
    if isinstance(value, str):
        return value.replace("\0", "").strip()[:chars_max]
    return str(value)[:chars_max] if isinstance(value, int) and not isinstance(value, bool) else ""


def _balance(value: object) -> int | None:
    # Only information: a bank that does not tell sends 0, and nothing depends on it.
    match value:
        case bool():
            return None
        case str() if value.isascii() and value.isdigit():
            number = int(value[:20])
        case int() | Decimal():
            number = int(value)
        case _:
            return None
    return number if abs(number) <= BALANCE_MINOR_MAX else None
