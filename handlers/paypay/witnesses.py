"""Two witnesses of a reconciliation: PayPay's answers that are on record, and what the books have.

Source: docs/providers/paypay.md, "Reconciliation".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import and_, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from handlers.paypay.books import cashback_reference, reversal_reference
from handlers.paypay.codes import Call
from handlers.paypay.comparing import (
    Booked,
    Break,
    amounts_of,
    captures_booked,
    in_parts,
    payments_booked,
    refunds_booked,
)
from handlers.paypay.files_layout import JAPAN, Layout
from handlers.paypay.payment_books import payment_reference, refund_reference
from handlers.paypay.states import Status
from handlers.paypay.tables import PayPayCashback, PayPayReversal
from handlers.paypay.tables_payments import DONE, PayPayCapture, PayPayPayment, PayPayRefund
from hub.errors import UsageError
from hub.store import tables as t

DAYS_MAX: Final = 366
PROVIDER: Final = "paypay"
PAID_WORDS: Final = ("COMPLETED", "REFUNDED")
DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Days:
    """Days in Japan, both included."""

    since: date
    until: date

    def __post_init__(self) -> None:
        if self.since > self.until:
            raise UsageError("--since is after --until")
        if (self.until - self.since).days >= DAYS_MAX:
            raise UsageError(f"expected at most {DAYS_MAX} days")

    @property
    def begin(self) -> datetime:
        return datetime.combine(self.since, time(), JAPAN).astimezone(UTC)

    @property
    def end(self) -> datetime:
        """The first instant that does not belong to them."""
        return datetime.combine(self.until + timedelta(days=1), time(), JAPAN).astimezone(UTC)

    def __iter__(self) -> Iterator[date]:
        return (self.since + timedelta(days=number) for number in range((self.until - self.since).days + 1))


@dataclass(frozen=True, slots=True)
class Thing:
    """A payment, refund, cashback or reversal that the books have: what it is called at PayPay, and how it stands."""

    name: str
    reference: str
    layout: Layout
    at: datetime | None
    order_id: str
    is_said: bool
    """Whether its row holds PayPay's own word for it; else a person has settled it."""
    spoken_of: str = ""
    """What PayPay's answers call it, where that is another name than the file's."""


# --- the calls ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Said:
    """PayPay's own word, in an answer that is on record, that something was paid, refunded, given or taken back.

    ``is_exact``: the amount is what was moved, not what was once asked for. ``is_within``: it was said in the days.
    """

    amount_jpy: int | None
    is_exact: bool
    is_within: bool


_FINAL_WORDS: Final[Mapping[str, tuple[str, str, bool]]] = {
    # call → the member that names the thing, the word that says that money moved, whether its amount is exact
    Call.READ_CASHBACK: ("merchantCashbackId", "SUCCESS", True),
    Call.READ_REVERSAL: ("merchantCashbackReversalId", "SUCCESS", True),
    Call.CREATE_PAYMENT: ("merchantPaymentId", "COMPLETED", False),
    Call.READ_PAYMENT: ("merchantPaymentId", "COMPLETED", False),
    Call.READ_CODE_PAYMENT: ("merchantPaymentId", "COMPLETED", False),
    Call.CAPTURE_PAYMENT: ("merchantPaymentId", "COMPLETED", False),
    Call.REFUND_PAYMENT: ("merchantRefundId", "REFUNDED", True),
    Call.READ_REFUND: ("merchantRefundId", "REFUNDED", True),
}


async def said_in(session: AsyncSession, days: Days) -> tuple[Mapping[str, Said], int]:
    """What PayPay said in these days and in those beside them, by our id; and how many answers the days have."""
    query = (
        select(t.calls.c.key, t.calls.c.outcome, t.calls.c.started_at)
        .where(
            t.calls.c.provider == PROVIDER,
            t.calls.c.state.in_(("settled", "pending")),
            t.calls.c.started_at.between(days.begin - DAY, days.end + DAY),
        )
        .order_by(t.calls.c.started_at)
    )
    said: dict[str, Said] = {}
    count = 0
    for key, outcome, at in await session.execute(query):
        is_within = days.begin <= at < days.end
        count += is_within
        facts = (outcome or {}).get("data") or {}
        member, word, is_exact = _FINAL_WORDS.get(str(facts.get("call", "")), ("", "", False))
        if member and facts.get("status") == word:
            name = str((facts.get("data") or {}).get(member) or key)
            before = said.get(name)
            is_within = is_within or (before is not None and before.is_within)
            said[name] = Said(facts.get("amount_jpy"), is_exact, is_within)
    return said, count


async def booked_of(session: AsyncSession, said: Mapping[str, Said]) -> Mapping[str, Booked]:
    """What the books have of whatever PayPay spoke of."""
    names = list(said)
    found = dict(await payments_booked(session, names))
    found |= await captures_booked(session, names)
    found |= await refunds_booked(session, names)
    for some in in_parts(names):
        rows = [
            *await session.execute(
                select(PayPayCashback.merchant_cashback_id, PayPayCashback.id).where(
                    PayPayCashback.merchant_cashback_id.in_(some)
                )
            )
        ]
        backs = [
            *await session.execute(
                select(PayPayReversal.merchant_cashback_reversal_id, PayPayReversal.id).where(
                    PayPayReversal.merchant_cashback_reversal_id.in_(some)
                )
            )
        ]
        references: dict[str, tuple[str, UUID]] = {name: (cashback_reference(id), id) for name, id in rows}
        references |= {name: (reversal_reference(id), id) for name, id in backs}
        amounts = await amounts_of(session, (reference for reference, _ in references.values()))
        found |= {name: Booked(amounts.get(one), False, id) for name, (one, id) in references.items()}
    return found


def against_calls(
    things: Iterable[Thing], booked: Mapping[str, int], said: Mapping[str, Said], said_of: Mapping[str, Booked]
) -> Iterable[Break]:
    """What PayPay said and is not booked, or otherwise; what is booked and was never said, by PayPay or a person."""
    for name, word in said.items():
        found = said_of.get(name)
        if not word.is_within or (found is not None and found.is_undone):
            continue
        in_books = found.amount_jpy if found is not None else None
        if in_books is None:
            yield Break(kind="said_not_booked", id=name, at_paypay_jpy=word.amount_jpy)
        elif word.is_exact and word.amount_jpy is not None and word.amount_jpy != in_books:
            yield Break(kind="another_amount", id=name, at_paypay_jpy=word.amount_jpy, in_books_jpy=in_books)
    for thing in things:
        if thing.is_said and (thing.spoken_of or thing.name) not in said:
            in_books = booked.get(thing.reference)
            yield Break(kind="not_in_calls", id=thing.name, order_id=thing.order_id, in_books_jpy=in_books)
        elif thing.reference not in booked:
            yield Break(kind="not_in_books", id=thing.name, order_id=thing.order_id)


# --- the books ------------------------------------------------------------------------------------------------------


async def payments_of(session: AsyncSession, days: Days) -> list[Thing]:
    table = PayPayPayment
    query = select(table).where(
        table.captured_jpy.is_not(None),
        or_(
            table.paid_at.between(days.begin, days.end),
            and_(table.paid_at.is_(None), table.completed_at.between(days.begin, days.end)),
        ),
    )
    rows = (await session.scalars(query)).all()
    captures = await _captured_names(session, [row.id for row in rows if row.is_authorization])
    return [
        Thing(
            name=captures.get(row.id, row.merchant_payment_id),
            reference=payment_reference(row.id, row.bookings),
            layout="capture" if row.is_authorization else "instant",
            at=row.completed_at if row.is_authorization else row.paid_at or row.completed_at,
            order_id=row.paypay_payment_id or "",
            is_said=row.paypay_status in PAID_WORDS,
            spoken_of=row.merchant_payment_id,
        )
        for row in rows
    ]


async def _captured_names(session: AsyncSession, ids: Sequence[UUID]) -> Mapping[UUID, str]:
    found: dict[UUID, str] = {}
    for some in in_parts(ids):
        query = select(PayPayCapture.payment_id, PayPayCapture.merchant_capture_id).where(
            PayPayCapture.payment_id.in_(some), PayPayCapture.status == DONE
        )
        found |= {payment: name for payment, name in await session.execute(query)}  # noqa: C416 - rows, not pairs
    return found


async def refunds_of(session: AsyncSession, days: Days) -> list[Thing]:
    query = (
        select(PayPayRefund, PayPayPayment)
        .join(PayPayPayment, PayPayPayment.id == PayPayRefund.payment_id)
        .where(PayPayRefund.status == DONE, PayPayRefund.done_at.between(days.begin, days.end))
    )
    return [
        Thing(
            name=refund.merchant_refund_id,
            reference=refund_reference(refund.id),
            layout="capture" if payment.is_authorization else "instant",
            at=refund.done_at,
            order_id=payment.paypay_payment_id or "",
            is_said=True,
        )
        for refund, payment in await session.execute(query)
    ]


async def cashbacks_of(session: AsyncSession, days: Days) -> list[Thing]:
    table = PayPayCashback
    query = select(table).where(table.status == Status.SUCCESS, table.succeeded_at.between(days.begin, days.end))
    return [
        Thing(row.merchant_cashback_id, cashback_reference(row.id), "other", row.succeeded_at, "", _is_said(row))
        for row in await session.scalars(query)
    ]


async def reversals_of(session: AsyncSession, days: Days) -> list[Thing]:
    table = PayPayReversal
    query = select(table).where(
        table.status == Status.SUCCESS, table.reversed_amount_jpy > 0, table.succeeded_at.between(days.begin, days.end)
    )
    return [
        Thing(
            row.merchant_cashback_reversal_id, reversal_reference(row.id), "other", row.succeeded_at, "", _is_said(row)
        )
        for row in await session.scalars(query)
    ]


def _is_said(row: PayPayCashback | PayPayReversal) -> bool:
    return row.paypay_status == Status.SUCCESS
