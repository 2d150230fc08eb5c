"""What may be asked for: amounts, currencies, lifetimes, texts. Each refusal has the code of its field.

Source: docs/providers/sepay-orders.md, "Errors".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, TypeGuard

from handlers.sepay.accounts import ReceivingAccount
from handlers.sepay.books import VND
from handlers.sepay.settings import INTENT_MINUTES_MAX, SepaySettings
from hub.errors import RefusedCommand
from schemas.sepay_orders import PRICE_MAX

METADATA_CHARS_MAX: Final = 4_000


def is_whole(value: object, *, most: int = PRICE_MAX) -> TypeGuard[int]:
    """A positive whole number that is no boolean and not above ``most``."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= most


def topup_amount(amount: object, currency: str, settings: SepaySettings) -> int:
    """The dong of a top-up. Raises RefusedCommand (unsupported_currency, invalid_amount)."""
    require_vnd(currency)
    if not is_whole(amount):
        raise RefusedCommand("invalid_amount", "amount must be a whole number of dong above 0")
    if not settings.min_amount <= amount <= settings.max_topup:
        raise RefusedCommand(
            "invalid_amount", f"amount must be from {settings.min_amount:,} to {settings.max_topup:,} VND"
        )
    return amount


def require_vnd(currency: str) -> None:
    """Raise RefusedCommand (unsupported_currency) for anything but dong."""
    if currency != VND:
        raise RefusedCommand("unsupported_currency", "Only VND can be paid by bank transfer")


def receiving_account(bank_code: str | None, settings: SepaySettings) -> ReceivingAccount:
    """The account to pay to; the default one when no bank is named. Raises RefusedCommand (unknown_bank_code)."""
    account = settings.receiving.for_payment(bank_code)
    if account is None:
        raise RefusedCommand("unknown_bank_code", "No receiving account is configured for this bank_code")
    return account


def lifetime(minutes: object, settings: SepaySettings) -> timedelta:
    """How long an intent lives; None = as configured. Raises RefusedCommand (invalid_request)."""
    wanted = settings.intent_minutes if minutes is None else minutes
    if not is_whole(wanted, most=INTENT_MINUTES_MAX):
        raise RefusedCommand("invalid_request", f"expires_in_minutes must be from 1 to {INTENT_MINUTES_MAX}")
    return timedelta(minutes=wanted)


def check_text(name: str, value: str | None) -> str | None:
    """Databases refuse the character NUL. Raises RefusedCommand (invalid_request)."""
    if value is not None and "\0" in value:
        raise RefusedCommand("invalid_request", f"{name} holds a character that cannot be stored")
    return value


def check_url(name: str, value: str | None) -> str | None:
    """A web address to send the payer back to. Raises RefusedCommand (invalid_request)."""
    if value is not None and not value.startswith(("https://", "http://")):
        raise RefusedCommand("invalid_request", f"{name} must be an http or https address")
    return check_text(name, value)


def check_metadata(metadata: Mapping[str, Any], *, code: str = "invalid_request") -> dict[str, Any]:
    """What the client wants kept with it. Raises RefusedCommand with ``code`` when it is too large."""
    text = json.dumps(metadata)
    if len(text) > METADATA_CHARS_MAX or "\\u0000" in text:
        raise RefusedCommand(code, f"metadata must be JSON of at most {METADATA_CHARS_MAX} characters, without NUL")
    return dict(metadata)
