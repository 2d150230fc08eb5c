"""What a person must look at about a payment: one review for each trouble, closed when the trouble is over.

Source: docs/providers/paypay.md, "Payments".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final
from uuid import UUID

from handlers.paypay.payment_words import Trouble
from handlers.paypay.tables_payments import PayPayPayment

if TYPE_CHECKING:
    from hub.deliver.context import Context

_T: Final = Trouble
WORDS: Final[Mapping[Trouble, str]] = {
    _T.REFUSED_STRANGELY: "PayPay refused it with a code that is not known",
    _T.TAKEN_AFTER_END: "PayPay took the money after this had ended without: it is in suspense; refund it, or keep it",
    _T.AUTHORIZED_AFTER_END: "PayPay shows an authorization of what had ended here: cancel it",
    _T.CONTRADICTION: "PayPay now says the opposite of what it said before: nothing was booked for it",
    _T.AMOUNT_DIFFERS: "PayPay names another amount than was asked for",
    _T.AMOUNT_UNREAD: "PayPay took the money and does not say how much: as much as was asked for is booked",
    _T.NOT_THERE: "it is too late to cancel, and PayPay does not know the payment",
    _T.UNDECIDED: "PayPay has not decided for a day; the hub goes on asking every hour",
    _T.CODE_STAYS_ON: "PayPay refuses to switch the code off",
    _T.CAPTURE_REFUSED: "PayPay refused the capture; the authorization stands",
    _T.CAPTURE_UNCONFIRMED: "nobody has confirmed the capture within six hours",
    _T.REVERT_REFUSED: "PayPay refused to give the authorization up",
    _T.REFUND_REFUSED: "PayPay refused the refund",
    _T.REFUND_UNDECIDED: "PayPay does not say whether it made the refund",
}
SETTLED_BY_A_STATE: Final = (_T.REFUSED_STRANGELY, _T.NOT_THERE, _T.UNDECIDED)
"""What is over once it is known where the payment stands."""
SETTLED_BY_MONEY: Final = (*SETTLED_BY_A_STATE, _T.CAPTURE_REFUSED, _T.CAPTURE_UNCONFIRMED, _T.REVERT_REFUSED)
"""What is over once the money is a sale."""
SETTLED_BY_REFUND: Final = (_T.REFUND_REFUSED, _T.REFUND_UNDECIDED)
"""What is over once a refund was made."""


def ask_person(row: PayPayPayment, trouble: Trouble, ctx: Context, *, part_id: UUID | None = None) -> None:
    """Put a trouble on a person's list, once: of each capture, revert and refund (``part_id``) its own."""
    name = str(trouble) if part_id is None else f"{trouble}/{part_id}"
    if name in row.troubles:
        return
    # Written anew, for what is changed inside a JSON value is not noticed.
    row.troubles = {**row.troubles, name: str(ctx.event.id)}
    before = ctx.effects.review
    # A delivery has one review: the second trouble of one delivery stands beside the first.
    reason = WORDS[trouble] if before is None else f"{before[1]}; {WORDS[trouble]}"
    ctx.review(trouble, reason)


def close_troubles(row: PayPayPayment, note: str, ctx: Context, *, only: Iterable[Trouble] | None = None) -> None:
    """These troubles are over, or all of them: close their reviews, unless another trouble shares one."""
    kinds = set(Trouble) if only is None else set(only)
    over = {name for name in row.troubles if name.partition("/")[0] in kinds}
    left = {name: event for name, event in row.troubles.items() if name not in over}
    for event_id in {row.troubles[name] for name in over} - set(left.values()):
        ctx.resolve_review(UUID(event_id), note)
    if over:
        row.troubles = left
