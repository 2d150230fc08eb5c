"""Rows of a transaction file against the books: what PayPay says was paid or refunded stands there, to the yen.

Nothing is booked from a file. Rows that moved no money (failed, authorized, expired) are not compared. Source:
docs/providers/paypay.md, "Transaction files" and "Reconciliation".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

from sqlalchemy import func, literal, select
from sqlalchemy.ext.asyncio import AsyncSession

from handlers.paypay.files_layout import FileRow, Layout
from handlers.paypay.payment_books import payment_reference, refund_reference
from handlers.paypay.tables_payments import PayPayCapture, PayPayPayment, PayPayRefund
from hub.ledger.tables import entries, moves

Kind: TypeAlias = Literal[
    "not_in_books",
    "not_in_file",
    "another_amount",
    "another_id",
    "another_merchant",
    "listed_twice",
    "undone_in_books",
    "not_in_calls",
    "said_not_booked",
    "file_missing",
    "file_unreadable",
]
"""What can be wrong; docs/providers/paypay.md says what each means and what to do."""
COMPLETED: Final = "COMPLETED"
REFUNDED: Final = "REFUNDED"
COMPARED: Final = frozenset({COMPLETED, REFUNDED})
IN_MAX: Final = 500
"""Ids per query."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """One thing on which PayPay, the calls and the books do not agree. Yen; None = not there at all.

    ``id`` is ours of what was done (a payment, capture, refund or cashback) or the day of a file; ``order_id`` is
    PayPay's of the payment. ``line`` is the row's in ``file``.
    """

    kind: Kind
    id: str
    order_id: str = ""
    at_paypay_jpy: int | None = None
    in_books_jpy: int | None = None
    file: str = ""
    line: int | None = None
    at: datetime | None = field(default=None, compare=False)
    """When it was done, as far as the books know."""


@dataclass(frozen=True, slots=True)
class Booked:
    """What the ledger has of a payment, capture or refund: yen, whether it was undone, and whose it is."""

    amount_jpy: int | None
    is_undone: bool
    payment_id: UUID


class FileComparison:
    """The rows of one file, compared some at a time; ``named`` are our ids that the file holds, by status."""

    def __init__(self, *, file: str, layout: Layout, merchant: str) -> None:
        self._file = file
        self._layout = layout
        self._merchant = merchant
        self._seen: set[tuple[str, str]] = set()
        self.named: set[str] = set()

    async def compare(self, session: AsyncSession, rows: Sequence[FileRow]) -> list[Break]:
        """What is wrong with these rows."""
        compared = [row for row in rows if row.status in COMPARED]
        if self._layout == "other" or not compared:
            return []
        completed = [row.own_id for row in compared if row.status == COMPLETED]
        refunded = [row.own_id for row in compared if row.status == REFUNDED]
        find = payments_booked if self._layout == "instant" else captures_booked
        books = {COMPLETED: await find(session, completed), REFUNDED: await refunds_booked(session, refunded)}
        strange = [row.order_id for row in compared if row.own_id not in books[row.status]]
        known_orders = await _known_orders(session, strange)
        found = [self._judge(row, books[row.status].get(row.own_id), known_orders) for row in compared]
        return [one for one in found if one is not None]

    def _judge(self, row: FileRow, booked: Booked | None, known_orders: frozenset[str]) -> Break | None:
        self.named.add(row.own_id)
        name = (row.status, row.own_id)
        if name in self._seen:
            return self._break("listed_twice", row, booked)
        self._seen.add(name)
        if self._merchant and row.merchant_id and row.merchant_id != self._merchant:
            return self._break("another_merchant", row, booked)
        if booked is None or booked.amount_jpy is None:
            is_renamed = booked is None and row.order_id in known_orders
            return self._break("another_id" if is_renamed else "not_in_books", row, booked)
        if booked.is_undone:
            return self._break("undone_in_books", row, booked)
        if booked.amount_jpy != abs(row.amount_jpy or 0):
            return self._break("another_amount", row, booked)
        return None

    def _break(self, kind: Kind, row: FileRow, booked: Booked | None) -> Break:
        return Break(
            kind=kind,
            id=row.own_id,
            order_id=row.order_id,
            at_paypay_jpy=abs(row.amount_jpy or 0),
            in_books_jpy=booked.amount_jpy if booked is not None else None,
            file=self._file,
            line=row.line,
        )


async def payments_booked(session: AsyncSession, ids: Sequence[str]) -> Mapping[str, Booked]:
    """What the books have of the payments with these ids of ours."""
    query = select(PayPayPayment.merchant_payment_id, PayPayPayment.id, PayPayPayment.bookings)
    return await _booked(session, query, PayPayPayment.merchant_payment_id, ids, payment_reference)


async def captures_booked(session: AsyncSession, ids: Sequence[str]) -> Mapping[str, Booked]:
    """The same of captures: what was captured is what is booked of the payment."""
    query = select(PayPayCapture.merchant_capture_id, PayPayCapture.payment_id, PayPayPayment.bookings).join(
        PayPayPayment, PayPayPayment.id == PayPayCapture.payment_id
    )
    return await _booked(session, query, PayPayCapture.merchant_capture_id, ids, payment_reference)


async def refunds_booked(session: AsyncSession, ids: Sequence[str]) -> Mapping[str, Booked]:
    """The same of refunds."""
    query = select(PayPayRefund.merchant_refund_id, PayPayRefund.id, literal(1))
    return await _booked(session, query, PayPayRefund.merchant_refund_id, ids, lambda id, _: refund_reference(id))


async def amounts_of(session: AsyncSession, references: Iterable[str]) -> Mapping[str, int]:
    """The yen of journal entries, by reference; an entry that there is not is left out."""
    found: dict[str, int] = {}
    for some in in_parts(list(references)):
        query = (
            select(entries.c.reference, func.sum(moves.c.amount))
            .join(moves, moves.c.entry_id == entries.c.id)
            .where(entries.c.reference.in_(some))
            .group_by(entries.c.reference)
        )
        found |= {reference: int(amount) for reference, amount in await session.execute(query)}
    return found


def in_parts(ids: Sequence[Any]) -> Iterable[Sequence[Any]]:
    """So many at a time as one query takes."""
    return (ids[start : start + IN_MAX] for start in range(0, len(ids), IN_MAX))


async def _booked(
    session: AsyncSession, query: Any, column: Any, ids: Sequence[str], reference_of: Callable[[UUID, int], str]
) -> Mapping[str, Booked]:
    ours: dict[str, UUID] = {}
    references: dict[str, str] = {}
    for some in in_parts(sorted({one for one in ids if one})):
        for name, id, number in await session.execute(query.where(column.in_(some))):
            # What was booked anew, after it had been undone, counts by its latest booking.
            ours[name], references[name] = id, reference_of(id, number)
    amounts = await amounts_of(session, [*references.values(), *(f"{one}:undone" for one in references.values())])
    return {
        name: Booked(amounts.get(references[name]), f"{references[name]}:undone" in amounts, id)
        for name, id in ours.items()
    }


async def _known_orders(session: AsyncSession, order_ids: Sequence[str]) -> frozenset[str]:
    """Which of these ids of PayPay's are those of payments that we know."""
    known: set[str] = set()
    for some in in_parts(sorted({one for one in order_ids if one})):
        query = select(PayPayPayment.paypay_payment_id).where(PayPayPayment.paypay_payment_id.in_(some))
        known |= {one for one in await session.scalars(query) if one is not None}
    return frozenset(known)
