"""PayPay's pages in the console: transaction files with their rows, and the points of a month for finance."""

from __future__ import annotations

import asyncio
from datetime import date
from pathlib import PurePath
from typing import Final
from uuid import UUID

from handlers.paypay.files_store import FileStore
from handlers.paypay.files_views import PAGE_MAX, PAGE_ROWS, find_file, list_files, page_of, view_of
from handlers.paypay.finance_report import Month, read_report
from handlers.paypay.finance_workbook import file_name, workbook
from handlers.paypay.settings import PayPaySettings
from handlers.paypay.tables_files import FileStatus, PayPayTransactionFile
from hub.api import HubApi
from hub.console.offered import Asked, Cell, Mark, OfferedFile, OfferedPage, OfferedTable, PageLink
from hub.errors import UsageError
from hub.money import Money

FILES_MAX: Final = 200
LINES_MAX: Final = 200
FILE_BYTES_MAX: Final = 64 * 1024 * 1024
XLSX: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


async def _files(api: HubApi, asked: Asked) -> OfferedTable:
    status = asked.get("status", "").upper() or None
    if status is not None and status not in tuple(FileStatus):
        raise UsageError(f"status: expected one of {', '.join(FileStatus)}, found {status!r}")
    async with api.reading() as session:
        since, until = _day(asked, "since"), _day(asked, "until")
        found = await list_files(session, since=since, until=until, status=status, limit=FILES_MAX)
    rows: list[list[Cell]] = [
        [
            PageLink(view.file_name, "transaction-file", {"id": str(view.file_id)}),
            str(view.day or ""),
            Mark(view.status.lower()),
            view.row_count,
            _yen(view.completed_jpy),
            _yen(view.refunded_jpy),
            view.break_count,
            view.received_at,
            view.last_error or "",
        ]
        for view in found
    ]
    columns = ["file", "day", "state", "rows", "paid", "refunded", "breaks", "received", "problem"]
    note = f"The newest {FILES_MAX}: narrow the days to see others." if len(found) == FILES_MAX else ""
    return OfferedTable(columns, rows, note=note, empty="PayPay has announced no file of these days.")


async def _file(api: HubApi, asked: Asked) -> OfferedTable:
    if not asked.get("id"):
        return OfferedTable([], [], empty="Choose one among the transaction files.")
    row = await _found(api, asked)
    view = view_of(row)
    if row.storage_key is None:
        return OfferedTable([], [], note=f"{view.file_name}: {view.status}", empty=view.last_error or "not fetched yet")
    number = _page(asked)
    page = await page_of(api.settings_of("paypay"), row, number)
    columns = list(page.rows[0].cells) if page.rows else list(view.columns)
    rows: list[list[Cell]] = [[one.line, *one.cells.values()] for one in page.rows]
    note = f"{view.file_name}, {view.status}, page {page.page} of {page.pages or 'unknown'}"
    if page.problem:
        note += f"; not readable from here on: {page.problem}"
    is_last = len(rows) < PAGE_ROWS or page.page == page.pages
    return OfferedTable(
        ["line", *columns],
        rows,
        note=note,
        more=None if is_last else {"page": str(number + 1)},
        files=[PageLink("As PayPay sent it", "transaction-file", {"id": str(row.id)}, file="original")],
    )


async def _original(api: HubApi, asked: Asked) -> OfferedFile:
    row = await _found(api, asked)
    if row.storage_key is None or row.sha256 is None:
        raise UsageError(f"the file is {row.status}: there is nothing to take yet")
    if (row.size_bytes or 0) > FILE_BYTES_MAX:
        raise UsageError(f"the file has {row.size_bytes} bytes; take it with: hub paypay files download {row.id}")
    async with FileStore(api.settings_of("paypay")).content(row.storage_key, row.sha256) as content:
        body = await asyncio.to_thread(content.read)
    return OfferedFile(PurePath(row.file_name).name, "text/csv", body)


async def _points(api: HubApi, asked: Asked) -> OfferedTable:
    month = _month(api, asked)
    async with api.reading() as session:
        report = await read_report(session, month)
    rows: list[list[Cell]] = [
        [
            line.at,
            line.id,
            Mark(line.status.lower()),
            line.device,
            line.points,
            Money(line.yen, "JPY"),
            line.paypay_id,
        ]
        for line in report.lines[:LINES_MAX]
    ]
    note = (
        f"{month}: website {report.web_points:,} points, {report.web_yen:,} yen;"
        f" app {report.app_points:,} points, {report.app_yen:,} yen; {len(report.lines):,} lines"
    )
    note += f", the first {LINES_MAX} of them below" if len(report.lines) > LINES_MAX else ""
    return OfferedTable(
        ["succeeded", "exchange", "state", "device", "points", "yen", "PayPay's id"],
        rows,
        note=note,
        empty="No exchange succeeded in this month.",
        files=[PageLink("Workbook for finance", "finance-points", {"month": str(month)}, file="workbook")],
    )


async def _workbook(api: HubApi, asked: Asked) -> OfferedFile:
    settings: PayPaySettings = api.settings_of("paypay")
    month, now = _month(api, asked), api.clock.now()
    async with api.reading() as session:
        report = await read_report(session, month)
    body = await asyncio.to_thread(workbook, report, made_at=now)
    return OfferedFile(file_name(now.astimezone(settings.zone)), XLSX, body)


async def _found(api: HubApi, asked: Asked) -> PayPayTransactionFile:
    text = asked.get("id", "")
    try:
        file_id = UUID(text)
    except ValueError:
        raise UsageError(f"id: expected the id of a transaction file, found {text[:40]!r}") from None
    async with api.reading() as session:
        row = await find_file(session, file_id)
    if row is None:
        raise UsageError(f"no transaction file has the id {file_id}")
    return row


def _month(api: HubApi, asked: Asked) -> Month:
    settings: PayPaySettings = api.settings_of("paypay")
    return Month.read(asked.get("month") or f"{api.clock.now().astimezone(settings.zone):%Y-%m}", settings.zone)


def _page(asked: Asked) -> int:
    text = asked.get("page", "1")
    # The length first: a very long number costs time, or is an error of another sort.
    is_number = text.isascii() and text.isdigit() and len(text) <= len(str(PAGE_MAX))
    number = int(text) if is_number else 0
    if not 1 <= number <= PAGE_MAX:
        raise UsageError(f"page: expected a number from 1 to {PAGE_MAX}, found {text[:20]!r}")
    return number


def _day(asked: Asked, name: str) -> date | None:
    text = asked.get(name)
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise UsageError(f"{name}: expected a day such as 2026-10-31, found {text!r}") from None


def _yen(amount: int | None) -> Money | None:
    return None if amount is None else Money(amount, "JPY")


PAGES: Final = (
    OfferedPage(
        name="transaction-files",
        title="Transaction files",
        sentence="What PayPay announced, fetched, read and compared with the books.",
        fields={"since": "From day (Japan)", "until": "To day", "status": "State"},
        table=_files,
    ),
    OfferedPage(
        name="transaction-file",
        title="A transaction file",
        sentence="Its rows, as they stand in the file that is kept.",
        fields={"id": "Id", "page": "Page"},
        table=_file,
        files={"original": _original},
    ),
    OfferedPage(
        name="finance-points",
        title="Points for finance",
        sentence="Points that members exchanged into PayPay balance in a month, less what was given back.",
        fields={"month": "Month, such as 2026-10"},
        table=_points,
        files={"workbook": _workbook},
    ),
)
