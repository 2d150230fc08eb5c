"""What the rows of a payment remember of each answer. An answer that is unknown leaves its code and nothing else.

It may be about another payment, whose id and state must not become this one's. Source: docs/providers/paypay.md,
"Payments".
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from handlers.paypay.outcomes import Declined, Facts, Outcome, Pending, Settled, Unknown, Verdict
from handlers.paypay.payment_parts import Part
from handlers.paypay.payment_requests import CODE_SLACK, Work
from handlers.paypay.payment_states import is_strange
from handlers.paypay.tables_payments import (
    DONE,
    IN_DOUBT,
    PENDING,
    REFUSED,
    REFUSED_IN_DOUBT,
    UNKNOWN,
    PayPayPayment,
    PayPayRefund,
)
from schemas.paypay import Operation

if TYPE_CHECKING:
    from hub.deliver.context import Context

ERROR_MAX: Final = 255
EPOCH_MAX: Final = 32_503_680_000
"""The year 3000."""
NO_PAYMENT: Final = ("refund_payment", "refund_details", "delete_qr_code", "create_qr_code")
"""Calls whose state is not that of the payment."""


def said(outcome: Outcome) -> Facts:
    """What PayPay said of the thing that it was asked about: nothing, where that is not known."""
    return Facts() if isinstance(outcome, Unknown) else Facts.of(outcome)


def note(row: PayPayPayment, outcome: Outcome, ctx: Context) -> None:
    """What the payment's row remembers."""
    facts = Facts.of(outcome)
    if facts.http_status is not None:
        row.http_status = facts.http_status
        row.result_code, row.result_code_id = facts.code or None, facts.code_id or None
    row.last_error = (getattr(outcome, "reason", "") or "")[:ERROR_MAX] or None
    row.updated_at = ctx.now
    facts = said(outcome)
    if facts.data.get("paymentId"):
        row.paypay_payment_id = str(facts.data["paymentId"])
    if facts.status and facts.call not in NO_PAYMENT:
        row.paypay_status = facts.status
        row.expires_at = time_of(facts.data.get("expiresAt")) or row.expires_at
        if facts.status in ("COMPLETED", "AUTHORIZED"):
            row.paid_at = time_of(facts.data.get("acceptedAt")) or row.paid_at or ctx.now


def note_code(work: Work, outcome: Outcome) -> None:
    """The code that PayPay has made, and until when it is read."""
    data = said(outcome).data
    if work.code is None or not data.get("codeId"):
        return
    code = work.code
    code.code_id, code.url, code.deeplink = data.get("codeId"), data.get("url"), data.get("deeplink")
    code.expires_at = time_of(data.get("expiryDate"))
    if code.expires_at is not None:
        work.payment.poll_until = code.expires_at + CODE_SLACK


def note_part(operation: Operation, part: Part | None, outcome: Outcome, ctx: Context) -> None:
    """Where a capture, revert or refund is now; a refund is done when it is booked."""
    if part is None:
        return
    if operation == "refund_details":
        part.status = PENDING if isinstance(outcome, Pending) and said(outcome).status else part.status
        return
    part.result_code = Facts.of(outcome).code or None
    if isinstance(part, PayPayRefund):
        _note_refund(part, outcome)
        return
    match outcome:
        case Settled():
            part.status, part.done_at = DONE, ctx.now
        case Pending():
            part.status = PENDING
        case Declined():
            part.status = REFUSED
        case Unknown():
            # A refusal that nobody knows is one all the same; what it refused, a look at the payment says.
            part.status = REFUSED if is_strange(outcome) else UNKNOWN


def _note_refund(part: PayPayRefund, outcome: Outcome) -> None:
    verdict = Facts.of(outcome).verdict
    is_refusal = verdict is Verdict.MANUAL if isinstance(outcome, Unknown) else isinstance(outcome, Declined)
    is_refusal = is_refusal or verdict is Verdict.NOT_FOUND
    match outcome:
        case Settled() | Pending():
            part.status = PENDING
        case _ if is_refusal and part.doubt is None and verdict is not Verdict.MANUAL:
            part.status = REFUSED
        case _:
            # An earlier try may have done it: only PayPay's word about the refund itself decides.
            part.status, part.looks = UNKNOWN, 0
            is_final_word = is_refusal and verdict is not Verdict.RETRY_SAME_ID
            part.doubt = REFUSED_IN_DOUBT if is_final_word else IN_DOUBT


def taken_jpy(facts: Facts) -> int | None:
    """What was taken: the sum of the captures where there are any, else the payment's amount."""
    captures = facts.data.get("captures") or ()
    taken = sum(one.get("amountJpy", 0) for one in captures if one.get("status", "COMPLETED") == "COMPLETED")
    return taken or facts.amount_jpy


def time_of(epoch: object) -> datetime | None:
    """An instant of PayPay's, in seconds; None for anything else, and for one with which nothing can be reckoned."""
    return datetime.fromtimestamp(epoch, UTC) if type(epoch) is int and 0 < epoch < EPOCH_MAX else None
