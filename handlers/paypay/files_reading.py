"""A transaction file that is kept is read and compared with the books.

Source: docs/providers/paypay.md, "Transaction files".
"""

from __future__ import annotations

import asyncio
from typing import IO, TYPE_CHECKING, Any, Final

from handlers.paypay.comparing import Break, FileComparison
from handlers.paypay.files import ask_person, close_review, locked
from handlers.paypay.files_layout import Found, TransactionFile, next_rows, read_name
from handlers.paypay.files_store import FileStore
from handlers.paypay.tables_files import FileStatus, PayPayTransactionFile
from hub.capability import calls
from hub.errors import PermanentError, UnreadableError
from hub.flow.priority import Priority
from schemas.paypay_files import FileRead

if TYPE_CHECKING:
    from hub.deliver.context import Context

READ_S_MAX: Final = 600.0
SHOWN_MAX: Final = 5


@calls("paypay-files", timeout_s=READ_S_MAX, priority=Priority.SWEEP)
async def read_file(wanted: FileRead, ctx: Context) -> None:
    """Read a file that is kept, and compare it with the books. Raises StorageError, to be tried again."""
    async with ctx.reading() as session:
        row = await session.get(PayPayTransactionFile, wanted.file_id)
    if row is None or row.storage_key is None or row.sha256 is None:
        raise PermanentError(f"no transaction file that is kept has the id {wanted.file_id}")
    problem, found = "", None
    breaks: list[Break] = []
    try:
        async with FileStore(ctx.settings).content(row.storage_key, row.sha256) as content:
            found, breaks = await _compared(row, content, ctx)
    except UnreadableError as error:
        problem = str(error)

    await ctx.begin()
    row = await locked(wanted.file_id, ctx)
    row.updated_at = row.parsed_at = ctx.now
    if found is None:
        row.status, row.last_error = FileStatus.FAILED, problem
        row.row_count = row.break_count = row.found = None
        ctx.conclude("unreadable")
        ask_person(row, "transaction_file_unreadable", f"{row.file_name}: {problem}", ctx)
        return
    row.status, row.last_error = FileStatus.PARSED, None
    row.row_count, row.break_count, row.found = found.row_count, len(breaks), _as_json(found)
    close_review(row, "the file was read", ctx)
    ctx.conclude("agrees")
    if breaks:
        ask_person(row, "transaction_file_disagrees", _words(row, breaks), ctx)


async def _compared(row: PayPayTransactionFile, content: IO[bytes], ctx: Context) -> tuple[Found, list[Break]]:
    file = await asyncio.to_thread(TransactionFile, content, read_name(row.file_name).layout)
    comparison = FileComparison(file=row.file_name, layout=file.found.layout, merchant=ctx.settings.merchant)
    rows = file.rows()
    breaks: list[Break] = []
    while some := await asyncio.to_thread(next_rows, rows):
        async with ctx.reading() as session:
            breaks += await comparison.compare(session, some)
    return file.found, breaks


def _words(row: PayPayTransactionFile, breaks: list[Break]) -> str:
    first = ", ".join(f"{one.kind} in line {one.line}" for one in breaks[:SHOWN_MAX])
    more = " …" if len(breaks) > SHOWN_MAX else ""
    return f"{row.file_name}: {len(breaks)} rows do not agree with the books ({first}{more}): hub reconcile paypay"


def _as_json(found: Found) -> dict[str, Any]:
    return {
        "layout": found.layout,
        "encoding": found.encoding,
        "columns": list(found.columns),
        "status_counts": dict(found.statuses),
        "completed_jpy": found.completed_jpy,
        "refunded_jpy": found.refunded_jpy,
    }
