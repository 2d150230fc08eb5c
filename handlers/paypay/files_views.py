"""Transaction files as people and programs see them: lists, one file, a page of its rows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import date
from itertools import islice
from typing import IO, TYPE_CHECKING, Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from handlers.paypay.files_layout import FileRow, TransactionFile, read_name
from handlers.paypay.files_store import FileStore
from handlers.paypay.tables_files import PayPayTransactionFile
from hub.errors import UnreadableError
from schemas.paypay_files import FilePage, FileRowView, FileView

if TYPE_CHECKING:
    from handlers.paypay.settings import PayPaySettings

PAGE_ROWS: Final = 100
PAGE_MAX: Final = 1_000_000


async def list_files(
    session: AsyncSession,
    *,
    since: date | None = None,
    until: date | None = None,
    file_type: str | None = None,
    status: str | None = None,
    limit: int,
) -> Sequence[FileView]:
    """Files of these days, newest first; those whose name tells no day stand in no range."""
    table = PayPayTransactionFile
    found = select(table).order_by(table.received_at.desc(), table.id.desc()).limit(limit)
    if since is not None:
        found = found.where(table.day >= since)
    if until is not None:
        found = found.where(table.day <= until)
    if file_type is not None:
        found = found.where(table.file_type == file_type)
    if status is not None:
        found = found.where(table.status == status)
    return [view_of(row) for row in await session.scalars(found)]


async def find_file(session: AsyncSession, file_id: UUID) -> PayPayTransactionFile | None:
    """One file."""
    row: PayPayTransactionFile | None = await session.get(PayPayTransactionFile, file_id)
    return row


def view_of(row: PayPayTransactionFile) -> FileView:
    """A file, without what would let anybody fetch it."""
    found = row.found or {}
    return FileView(
        file_id=row.id,
        file_type=row.file_type,
        file_name=row.file_name,
        merchant_id=row.merchant_id,
        day=row.day,
        status=row.status,
        size_bytes=row.size_bytes,
        sha256=row.sha256,
        row_count=row.row_count,
        break_count=row.break_count,
        layout=found.get("layout"),
        encoding=found.get("encoding"),
        columns=tuple(found.get("columns", ())),
        status_counts=found.get("status_counts", {}),
        completed_jpy=found.get("completed_jpy"),
        refunded_jpy=found.get("refunded_jpy"),
        url_host=row.url_host,
        attempts=row.attempts,
        last_error=row.last_error,
        received_at=row.received_at,
        stored_at=row.stored_at,
        expires_at=row.expires_at,
    )


async def page_of(settings: PayPaySettings, row: PayPayTransactionFile, page: int) -> FilePage:
    """A page of the rows of a file that is kept, read from the file itself; ``page`` counts from 1.

    Of a file that cannot be read to its end, the rows before the mistake are shown, with its place. Raises
    StorageError, ObjectLostError.
    """
    assert row.storage_key is not None and row.sha256 is not None  # noqa: PT018 - the caller has asked
    async with FileStore(settings).content(row.storage_key, row.sha256) as content:
        rows, problem = await asyncio.to_thread(_rows, content, row.file_name, page)
    pages = None if row.row_count is None else max(1, -(-row.row_count // PAGE_ROWS))
    return FilePage(
        file_id=row.id,
        page=page,
        pages=pages,
        row_count=row.row_count,
        rows=tuple(FileRowView(line=one.line, cells=one.cells) for one in rows),
        problem=problem,
    )


def _rows(content: IO[bytes], file_name: str, page: int) -> tuple[list[FileRow], str | None]:
    rows: list[FileRow] = []
    try:
        file = TransactionFile(content, read_name(file_name).layout)
        for row in islice(file.rows(), (page - 1) * PAGE_ROWS, page * PAGE_ROWS):
            rows.append(row)
    except UnreadableError as error:
        return rows, str(error)
    return rows, None
