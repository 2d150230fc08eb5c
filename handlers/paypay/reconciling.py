"""PayPay's word, the calls and the books, all three against each other, for some days in Japan.

Payments and refunds have three witnesses: the transaction files, the answers of PayPay that are on record, and the
ledger. The file of cashback has no published layout, so exchanges and reversals have two: answers and ledger. What a
person has settled by hand has no answer of PayPay's; it is counted, and is no break. Source: docs/providers/paypay.md,
"Reconciliation".
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final, TypeAlias

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from handlers.paypay.comparing import Break, FileComparison, amounts_of
from handlers.paypay.files_layout import JAPAN, Layout, TransactionFile, next_rows, read_name
from handlers.paypay.files_store import FileStore
from handlers.paypay.settings import PayPaySettings
from handlers.paypay.tables_files import PayPayTransactionFile
from handlers.paypay.witnesses import (
    Days,
    Thing,
    against_calls,
    booked_of,
    cashbacks_of,
    payments_of,
    refunds_of,
    reversals_of,
    said_in,
)
from hub.errors import UnreadableError
from hub.storage import ObjectLostError

if TYPE_CHECKING:
    from hub.api import HubApi

BORDER: Final = timedelta(minutes=10)
"""So near to midnight PayPay may count to the other day what we count to this one."""

Reading: TypeAlias = Callable[[], AbstractAsyncContextManager[AsyncSession]]
"""A look at the database, at one moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """What the comparison of some days gave. Amounts are yen."""

    days: Days
    files: int
    rows: int
    paid_at_paypay_jpy: int
    refunded_at_paypay_jpy: int
    paid_in_books_jpy: int
    refunded_in_books_jpy: int
    cashback_in_books_jpy: int
    calls: int
    by_hand: int
    breaks: Sequence[Break]

    @property
    def agrees(self) -> bool:
        """Whether all witnesses say the same, to the yen."""
        return not self.breaks


@dataclass(slots=True)
class _Files:
    """What the files of some days hold."""

    count: int = 0
    rows: int = 0
    paid_jpy: int = 0
    refunded_jpy: int = 0
    named: set[str] = field(default_factory=set)
    read: dict[Layout, set[date]] = field(default_factory=lambda: defaultdict(set))
    breaks: list[Break] = field(default_factory=list)


async def reconcile(api: HubApi, days: Days, *, is_past: bool = True) -> Reconciliation:
    """Compare some days. ``is_past``: whether every file of theirs must be there by now.

    Raises UsageError; StorageError when the storage of files does not answer.
    """
    return await compare_days(api.reading, api.settings_of("paypay"), days, is_past=is_past)


async def compare_days(
    reading: Reading, settings: PayPaySettings, days: Days, *, is_past: bool = True
) -> Reconciliation:
    """The same for a handler, which reads the database in a way of its own."""
    files = await _read_files(reading, settings, days)
    async with reading() as session:
        payments, refunds = await payments_of(session, days), await refunds_of(session, days)
        cashbacks, reversals = await cashbacks_of(session, days), await reversals_of(session, days)
        things = [*payments, *refunds, *cashbacks, *reversals]
        amounts = await amounts_of(session, (one.reference for one in things))
        undone = await amounts_of(session, (f"{one.reference}:undone" for one in (*payments, *refunds)))
        said, calls = await said_in(session, days)
        said_of = await booked_of(session, said)
    booked = {one.reference: amounts[one.reference] for one in things if one.reference in amounts}
    standing = [one for one in (*payments, *refunds) if f"{one.reference}:undone" not in undone]
    done_at = {one.name: one.at for one in things}
    breaks = [
        *files.breaks,
        *_missing_files(files, standing, is_past=is_past),
        *_not_in_files(files, standing, booked, days),
        *against_calls(things, booked, said, said_of),
    ]
    return Reconciliation(
        days=days,
        files=files.count,
        rows=files.rows,
        paid_at_paypay_jpy=files.paid_jpy,
        refunded_at_paypay_jpy=files.refunded_jpy,
        paid_in_books_jpy=sum(booked.get(one.reference, 0) for one in payments if one in standing),
        refunded_in_books_jpy=sum(booked.get(one.reference, 0) for one in refunds),
        cashback_in_books_jpy=sum(booked.get(one.reference, 0) for one in cashbacks)
        - sum(booked.get(one.reference, 0) for one in reversals),
        calls=calls,
        by_hand=sum(not one.is_said for one in things),
        breaks=[replace(one, at=one.at or done_at.get(one.id)) for one in breaks],
    )


# --- the files ------------------------------------------------------------------------------------------------------


async def _read_files(reading: Reading, settings: PayPaySettings, days: Days) -> _Files:
    found = _Files()
    table = PayPayTransactionFile
    # One of the day before and after: what happened at midnight may stand in either.
    around = table.day.between(days.since - timedelta(days=1), days.until + timedelta(days=1))
    async with reading() as session:
        rows = (await session.scalars(select(table).where(around).order_by(table.day, table.received_at))).all()
    seen: set[str] = set()
    for row in rows:
        is_ours = row.day is not None and days.since <= row.day <= days.until
        if row.storage_key is None or row.sha256 is None or row.storage_key in seen:
            continue
        seen.add(row.storage_key)
        await _read_file(row, is_ours, reading, settings, found)
    return found


async def _read_file(
    row: PayPayTransactionFile, is_ours: bool, reading: Reading, settings: PayPaySettings, found: _Files
) -> None:
    # The caller has looked whether it is kept, and asked for files of certain days.
    assert row.storage_key is not None and row.sha256 is not None and row.day is not None  # noqa: PT018 - no test
    layout = read_name(row.file_name).layout
    comparison = FileComparison(file=row.file_name, layout=layout, merchant=settings.merchant)
    breaks: list[Break] = []
    try:
        async with FileStore(settings).content(row.storage_key, row.sha256) as content:
            file = await asyncio.to_thread(TransactionFile, content, layout)
            rows = file.rows()
            while some := await asyncio.to_thread(next_rows, rows):
                async with reading() as session:
                    breaks += await comparison.compare(session, some)
    except (UnreadableError, ObjectLostError):
        if is_ours:
            found.breaks.append(Break(kind="file_unreadable", id=row.day.isoformat(), file=row.file_name))
        return
    found.read[layout].add(row.day)
    found.named |= comparison.named
    if is_ours:
        found.count, found.rows = found.count + 1, found.rows + file.found.row_count
        found.paid_jpy += file.found.completed_jpy
        found.refunded_jpy -= file.found.refunded_jpy
        found.breaks += breaks


def _missing_files(files: _Files, things: Iterable[Thing], *, is_past: bool) -> Iterable[Break]:
    """Days on which something was paid or refunded, and no file of the kind that would hold it was read."""
    if not is_past:
        return
    unreadable = {one.id for one in files.breaks if one.kind == "file_unreadable"}
    days: dict[tuple[date, Layout], None] = {}
    for thing in things:
        if thing.at is not None:
            days[thing.at.astimezone(JAPAN).date(), thing.layout] = None
    for day, layout in sorted(days):
        if day not in files.read[layout] and day.isoformat() not in unreadable:
            yield Break(kind="file_missing", id=day.isoformat(), file=f"{layout} payments")


def _not_in_files(files: _Files, things: Iterable[Thing], booked: Mapping[str, int], days: Days) -> Iterable[Break]:
    """What the books have, and a file that was read should hold, and does not."""
    for thing in things:
        if thing.at is None or thing.reference not in booked or thing.name in files.named:
            continue
        day = thing.at.astimezone(JAPAN).date()
        near = {(thing.at + border).astimezone(JAPAN).date() for border in (-BORDER, BORDER)} | {day}
        # Near midnight it may stand in the neighbour's file, which may not be there yet.
        if near <= files.read[thing.layout]:
            yield Break(
                kind="not_in_file", id=thing.name, order_id=thing.order_id, in_books_jpy=booked[thing.reference]
            )
