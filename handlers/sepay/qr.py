"""The link to SePay's QR image. It needs no key and no call by the hub.

Source: docs/providers/sepay.md, "QR"; https://developer.sepay.vn/vi/tien-ich-khac/tao-qr-code.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote, urlencode

QR_BASE: Final = "https://qr.sepay.vn/img"
QR_TEMPLATE: Final = "compact"


def qr_url(
    *,
    account_number: str,
    bank: str,
    amount_minor: int | None = None,
    content: str | None = None,
    template: str | None = QR_TEMPLATE,
    base: str = QR_BASE,
) -> str:
    """The address of a QR image for one transfer.

    ``bank`` is the bank's short name as SePay lists it, ``amount_minor`` whole dong, ``content`` what the payer must
    write; all are encoded here.
    """
    fields = {
        "acc": account_number,
        "bank": bank,
        "amount": None if amount_minor is None else str(amount_minor),
        "des": content,
        "template": template,
    }
    # Spaces as %20: a "+" would reach the bank's form as a plus sign.
    return f"{base}?{urlencode({name: text for name, text in fields.items() if text is not None}, quote_via=quote)}"
