"""The VietQR payload: what a banking app reads out of a QR code for a transfer to an account, written by ourselves.

A payload is a text of fields: two digits of tag, two of length, the value; some values are fields again. The last field
is a checksum over everything before it. Source: NAPAS QR format specification 1.5.2; EMVCo Merchant-Presented QR;
docs/providers/sepay.md, "QR".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

ACCOUNT_CHARS_MAX: Final = 19
PURPOSE_CHARS_MAX: Final = 25
BILL_CHARS_MAX: Final = 25
AMOUNT_DIGITS_MAX: Final = 13
VALUE_CHARS_MAX: Final = 99
PAYLOAD_CHARS_MAX: Final = 512

BINS: Final[Mapping[str, str]] = {
    "BIDV": "970418",
    "VIETCOMBANK": "970436",
    "MBBANK": "970422",
    "VIETINBANK": "970415",
    "TECHCOMBANK": "970407",
    "ACB": "970416",
    "TPBANK": "970423",
    "VPBANK": "970432",
    "SACOMBANK": "970403",
}
"""Short name of a bank, in upper case → its number (BIN); ``bin`` of ``SEPAY_ACCOUNTS`` names any other."""

_NAPAS: Final = "A000000727"
_DONG, _VIETNAM = "704", "VN"
_CRC_FIELD: Final = "6304"
_FIELD: Final = re.compile(r"(\d\d)(\d\d)", re.ASCII)
_PRINTABLE: Final = re.compile(r"[ -~]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class VietQr:
    """A transfer that a QR code asks for. ``amount_minor`` is whole dong; None leaves it to the payer."""

    bin: str
    account: str
    amount_minor: int | None = None
    purpose: str = ""
    bill_number: str = ""
    service: Literal["QRIBFTTA", "QRIBFTTC"] = "QRIBFTTA"

    def payload(self) -> str:
        """The text of the QR code. Raises ValueError for what does not fit into it."""
        self._check()
        payee = _fields([("00", self.bin), ("01", self.account)])
        text = _fields(
            [
                ("00", "01"),
                ("01", "11" if self.amount_minor is None else "12"),
                ("38", _fields([("00", _NAPAS), ("01", payee), ("02", self.service)])),
                ("53", _DONG),
                ("54", "" if self.amount_minor is None else str(self.amount_minor)),
                ("58", _VIETNAM),
                ("62", _fields([("01", self.bill_number), ("08", self.purpose)])),
            ]
        )
        return f"{text}{_CRC_FIELD}{crc16(f'{text}{_CRC_FIELD}'):04X}"

    def _check(self) -> None:
        if re.fullmatch(r"\d{6}", self.bin, re.ASCII) is None:
            raise ValueError("a bank's number has six digits")
        if re.fullmatch(rf"[0-9A-Za-z]{{1,{ACCOUNT_CHARS_MAX}}}", self.account) is None:
            raise ValueError(f"an account has from 1 to {ACCOUNT_CHARS_MAX} letters and digits")
        if self.amount_minor is not None and not 0 < self.amount_minor < 10**AMOUNT_DIGITS_MAX:
            raise ValueError("the amount is not positive or too large")
        for name, text, longest in (
            ("purpose", self.purpose, PURPOSE_CHARS_MAX),
            ("bill number", self.bill_number, BILL_CHARS_MAX),
        ):
            if len(text) > longest or _PRINTABLE.fullmatch(text) is None:
                raise ValueError(f"the {name} has more than {longest} characters, or other than printable ASCII")


def read_payload(text: str) -> VietQr:
    """What a transfer's QR code asks for. Raises ValueError, which says what is wrong with the code."""
    if len(text) > PAYLOAD_CHARS_MAX:
        raise ValueError("the payload is too long")
    if text[-8:-4] != _CRC_FIELD:
        raise ValueError("the payload has no checksum")
    if f"{crc16(text[:-4]):04X}" != text[-4:].upper():
        raise ValueError("the checksum is wrong")
    fields = _read(text)
    provider = _read(fields.get("38", ""))
    payee = _read(provider.get("01", ""))
    more = _read(fields.get("62", ""))
    service = provider.get("02", "")
    if provider.get("00") != _NAPAS or service not in ("QRIBFTTA", "QRIBFTTC"):
        raise ValueError("the payload asks for no transfer to an account or card")
    amount = fields.get("54")
    if amount is not None and (not amount.isascii() or not amount.isdigit()):
        raise ValueError("the amount is not in whole dong")
    found = VietQr(
        bin=payee.get("00", ""),
        account=payee.get("01", ""),
        amount_minor=None if amount is None else int(amount),
        purpose=more.get("08", ""),
        bill_number=more.get("01", ""),
        service="QRIBFTTC" if service == "QRIBFTTC" else "QRIBFTTA",
    )
    found._check()
    return found


def crc16(text: str) -> int:
    """CRC-16/CCITT-FALSE: polynomial 0x1021 from 0xFFFF, nothing reflected, no final xor. "123456789" gives 0x29B1."""
    crc = 0xFFFF
    for byte in text.encode("utf-8", "surrogateescape"):
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


def _fields(fields: Iterable[tuple[str, str]]) -> str:
    written = [(tag, value) for tag, value in fields if value]
    for tag, value in written:
        if len(value) > VALUE_CHARS_MAX:
            raise ValueError(f"the field {tag} does not fit: two digits say how long a value is")
    return "".join(f"{tag}{len(value):02d}{value}" for tag, value in written)


def _read(text: str) -> Mapping[str, str]:
    fields: dict[str, str] = {}
    at = 0
    while at < len(text):
        head = _FIELD.match(text, at)
        if head is None:
            raise ValueError("a field begins without tag and length")
        tag, end = head[1], head.end() + int(head[2])
        if end > len(text) or tag in fields:
            raise ValueError(f"the field {tag} is longer than what holds it, or there twice")
        fields[tag], at = text[head.end() : end], end
    return fields
