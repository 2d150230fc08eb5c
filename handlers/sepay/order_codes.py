"""Order codes: what a payer writes into the transfer so that we recognise the payment.

A code is stored as the API shows it and compared in its normalised form (upper-case letters and digits only), because
banks change case and drop or replace separators. Source: docs/providers/sepay.md, "Order codes".
"""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime
from typing import Final, NewType
from uuid import UUID

OrderCode = NewType("OrderCode", str)
"""As stored and shown: ``TOPUP1699999999ABCD1234`` or ``PAY_A1B2C3D4_1699999999``."""
NormalisedCode = NewType("NormalisedCode", str)
"""As compared and printed into the transfer content: only A-Z and 0-9."""

TRANSFER_CONTENT_CHARS_MAX: Final = 25
"""The longest transfer content that a VietQR code can carry."""
_OTHER: Final = re.compile(r"[^A-Z0-9]")


def topup_code(now: datetime, random_hex: str) -> OrderCode:
    """The code of a wallet top-up: ``TOPUP``, the epoch second and eight hexadecimal characters."""
    return OrderCode(f"TOPUP{_epoch_s(now)}{_eight_hex(random_hex)}")


def pay_code(now: datetime, random_hex: str) -> OrderCode:
    """The code of any other payment: ``PAY_``, eight hexadecimal characters, ``_`` and the epoch second."""
    return OrderCode(f"PAY_{_eight_hex(random_hex)}_{_epoch_s(now)}")


def random_hex_of(id: UUID) -> str:
    """Eight hexadecimal characters from the random end of a version 7 UUID, whose last 62 bits are cryptographic."""
    return id.hex[-8:].upper()


def normalise(text: str) -> NormalisedCode:
    """Drop diacritics (``đ`` becomes ``d``), go to upper case, delete everything except A-Z and 0-9."""
    plain = unicodedata.normalize("NFKD", text.replace("đ", "d").replace("Đ", "D"))
    return NormalisedCode(_OTHER.sub("", plain.upper()))


def _epoch_s(now: datetime) -> str:
    return f"{int(now.timestamp()):010d}"


def _eight_hex(random_hex: str) -> str:
    if re.fullmatch("[0-9A-F]{8}", random_hex) is None:
        raise ValueError(f"an order code needs eight upper-case hexadecimal characters, not {random_hex!r}")
    return random_hex
