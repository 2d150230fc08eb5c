"""What a person is told about a transfer that could not be assigned for sure.

Source: docs/providers/sepay.md, "Errors"; the texts are those that operators search for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from uuid import UUID

from handlers.sepay.assigning import Problem
from schemas.sepay import TransferNeedsReview

if TYPE_CHECKING:
    from hub.deliver.context import Context

PROCESS_ERRORS: Final[Mapping[str, str]] = {
    "unmatched": "Payment intent not found",
    "amount_mismatch": "Amount mismatch",
    "ambiguous_match": "more than one order code",
    "truncated_code": "order code cut short",
    "account_mismatch": "unknown receiving account",
    "late_payment": "Payment intent expired",
    "duplicate_payment": "duplicate payment",
    "wallet_suspended": "Wallet is suspended",
    "order_not_payable": "order already settled",
    "invalid_payload": "invalid payload",
}
"""Outcome → what is wrong, in the words of the payment module that operators know."""

WHICH_WAIT: Final = "`hub sepay unmatched list` shows those that wait"
"""Where a person finds the number of a transfer."""


def process_error_of(outcome: str) -> str:
    """The text that belongs to a problem outcome."""
    return PROCESS_ERRORS[outcome]


async def ask_for_review(sepay_tx_id: int, problem: Problem, ctx: Context, *, detail: str = "") -> None:
    """Put the transfer on the list of those that need a person, and tell whoever listens."""
    process_error = process_error_of(problem.outcome)
    ctx.review(problem.outcome, f"{process_error}: {detail}" if detail else process_error)
    await tell_of_review(sepay_tx_id, problem, ctx, event_id=ctx.event.id)


async def tell_of_review(sepay_tx_id: int, problem: Problem, ctx: Context, *, event_id: UUID) -> None:
    """Tell whoever listens that a transfer needs a person; ``event_id`` is the event whose review is open."""
    await ctx.emit(
        "sepay.transaction.needs_review",
        TransferNeedsReview(
            event_id=event_id,
            sepay_tx_id=sepay_tx_id,
            outcome=problem.outcome,
            process_error=process_error_of(problem.outcome),
            intent_id=problem.intent_id,
            partial_code=problem.partial_code,
            suggested_intent_id=problem.suggested_intent_id,
        ),
        key=str(sepay_tx_id),
    )
