"""What an invoice of PayPal's may say: the fields that a template may set, and how long each may be.

Source: Invoicing v2, "invoice"; docs/providers/paypal.md, "Invoice template".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias


@dataclass(frozen=True, slots=True)
class Words:
    """A text of at most so many characters, of a certain form."""

    most: int
    form: re.Pattern[str] | None = None
    expected: str = "text"


@dataclass(frozen=True, slots=True)
class Number(Words):
    """A number as text; the file may write it without quotes."""


@dataclass(frozen=True, slots=True)
class Switch:
    """Yes or no."""


@dataclass(frozen=True, slots=True)
class Many:
    """A list of at most so many."""

    of: Shape
    most: int


Shape: TypeAlias = "Words | Switch | Many | Mapping[str, Shape]"

LANGUAGE: Final = re.compile(r"[a-z]{2}(-[A-Z][a-z]{3})?(-[A-Z]{2})?")
_DAY: Final = Words(10, re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])"), "a day such as 2026-01-31")
_EMAIL: Final = Words(254, re.compile(r"[^@\s]+@[^@\s]+"), "an email address")
_URL: Final = Words(2_000, re.compile(r"https://\S+"), "an address that begins with https://")
_COUNTRY: Final = Words(2, re.compile(r"[A-Z]{2}"), "a country of two capitals, such as TW")
_PERCENT: Final = Number(12, re.compile(r"\d+(\.\d+)?"), "a percentage such as 5 or 8.5")
_TERMS: Final = (
    "DUE_ON_RECEIPT DUE_ON_DATE_SPECIFIED NET_10 NET_15 NET_30 NET_45 NET_60 NET_90 NO_DUE_DATE"
)  # fmt: skip
_NAME: Final[Mapping[str, Shape]] = {
    "prefix": Words(140),
    "given_name": Words(140),
    "middle_name": Words(140),
    "surname": Words(140),
    "suffix": Words(140),
    "full_name": Words(300),
}
_ADDRESS: Final[Mapping[str, Shape]] = {
    "address_line_1": Words(300),
    "address_line_2": Words(300),
    "address_line_3": Words(100),
    "admin_area_1": Words(300),
    "admin_area_2": Words(120),
    "admin_area_3": Words(100),
    "admin_area_4": Words(100),
    "postal_code": Words(60),
    "country_code": _COUNTRY,
}
_PHONES: Final = Many(
    {
        "country_code": Words(3, re.compile(r"\d{1,3}"), "a calling code in quotes, such as '886'"),
        "national_number": Words(14, re.compile(r"\d{1,14}"), "digits in quotes"),
        "extension_number": Words(15, re.compile(r"\d{1,15}"), "digits in quotes"),
        "phone_type": Words(6, re.compile("FAX|HOME|MOBILE|OTHER|PAGER"), "FAX, HOME, MOBILE, OTHER or PAGER"),
    },
    10,
)
_CONTACT: Final[Mapping[str, Shape]] = {"business_name": Words(300), "name": _NAME, "address": _ADDRESS}

INVOICE: Final[Mapping[str, Shape]] = {
    "detail": {
        "reference": Words(120),
        "invoice_date": _DAY,
        "note": Words(4_000),
        "terms_and_conditions": Words(4_000),
        "memo": Words(500),
        "category_code": Words(20),
        "payment_term": {
            "term_type": Words(30, re.compile(_TERMS.replace(" ", "|")), f"one of {_TERMS.replace(' ', ', ')}"),
            "due_date": _DAY,
        },
        "attachments": Many({"id": Words(255), "reference_url": _URL}, 5),
    },
    "invoicer": {
        **_CONTACT,
        "email_address": _EMAIL,
        "phones": _PHONES,
        "website": Words(2_048),
        "tax_id": Words(100),
        "additional_notes": Words(400),
        "logo_url": _URL,
    },
    "primary_recipients": Many(
        {
            "billing_info": {
                **_CONTACT,
                "email_address": _EMAIL,
                "phones": _PHONES,
                "additional_info": Words(40),
                "language": Words(10, LANGUAGE, "a language such as en-US"),
            },
            "shipping_info": _CONTACT,
        },
        1,
    ),
    "additional_recipients": Many({"email_address": _EMAIL}, 100),
    "items": Many(
        {
            "name": Words(200),
            "description": Words(1_000),
            "tax": {"name": Words(100), "percent": _PERCENT},
            "item_date": _DAY,
            "unit_of_measure": Words(8, re.compile("QUANTITY|HOURS|AMOUNT"), "QUANTITY, HOURS or AMOUNT"),
        },
        1,
    ),
    "configuration": {
        "tax_calculated_after_discount": Switch(),
        "tax_inclusive": Switch(),
        "allow_tip": Switch(),
        "partial_payment": {"allow_partial_payment": Switch()},
        "template_id": Words(30),
    },
}
"""Everything but what belongs to the payment: number, currency and sum."""
OF_THE_PAYMENT: Final = ("amount", "currency_code", "discount", "invoice_number", "quantity", "unit_amount")
"""Names that an invoice of PayPal's has, and that no template may set."""
FILLED_IN: Final = (
    "plan.id",
    "plan.name",
    "plan.description",
    "subscription.id",
    "subscriber.given_name",
    "subscriber.surname",
    "custom_id",
    "payment.id",
    "payment.amount",
    "payment.currency",
    "payment.date",
    "invoice.number",
)
"""What a text may name in braces."""
