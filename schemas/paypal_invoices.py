"""PayPal's invoices: what is to be done for a payment's invoice next, and what became of it.

Amounts are in the currency's minor unit. Ids are PayPal's, texts as they came; ``custom_id`` is opaque.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

InvoiceState = Literal["none", "drafted", "sent", "paid", "waived"]
InvoiceStep = Literal["draft", "send", "record", "notify", "refund"]


class Message(BaseModel):
    """What all of these have in common: they never change once they are read."""

    model_config = ConfigDict(frozen=True)


class InvoiceDue(Message):
    """``paypal.invoice.due``: this step of a payment's invoice is to be done; ``turn`` counts a person's retries.

    With ``refund``, ``amount_minor`` is to be recorded as given back, after ``before_minor`` was.
    """

    payment_id: str
    step: InvoiceStep
    turn: int = 0
    before_minor: int = 0
    amount_minor: int = 0


class InvoiceChanged(Message):
    """``paypal.invoice.paid``, ``.failed`` and ``.waived``: how an invoice ended, or that it waits for a person.

    ``issue`` is PayPal's word for what it does not like, or ours; ``step`` is the one that it was said of.
    """

    payment_id: str
    invoice_number: str
    invoice_id: str | None = None
    state: InvoiceState
    issue: str | None = None
    step: InvoiceStep | None = None
    subscription_id: str | None = None
    custom_id: str | None = None
    amount_minor: int
    currency: str


class InvoiceView(Message):
    """An invoice as a shop and an operator see it. With an ``issue`` it stands still until a person has decided."""

    payment_id: str
    invoice_number: str
    invoice_id: str | None = None
    state: InvoiceState
    issue: str | None = None
    updated_at: datetime


class InvoiceDecision(Message):
    """``paypal.invoice.decided``: a person has PayPal asked again, or says that no invoice shall come of it."""

    payment_id: str
    decision: Literal["retry", "waive"]
    by: Annotated[str, Field(min_length=1, max_length=200)]
    note: Annotated[str, Field(min_length=1, max_length=2_000)]
