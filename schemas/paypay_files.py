"""Messages of PayPay's transaction files: fetch one, read one, and how they are shown.

Amounts are whole yen. Source: docs/providers/paypay.md, "Transaction files".
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field


class Message(BaseModel):
    """Everything here is frozen."""

    model_config = ConfigDict(frozen=True)


class FileFetch(Message):
    """A file is to be fetched. Its address stays with the notification that brought it."""

    file_id: UUID
    event_id: UUID
    """The notification whose address counts."""
    number: int = 0


class FileRead(Message):
    """A file that is kept is to be read and compared."""

    file_id: UUID


class FileOrdered(Message):
    """An operator wants a file to be fetched, or read, once more."""

    file_id: UUID
    by: str = Field(min_length=1, max_length=255, pattern=r"^[^\x00]+$")


class FileView(Message):
    """A transaction file as it is listed."""

    file_id: UUID
    file_type: str
    file_name: str
    merchant_id: str
    day: date | None
    status: str
    size_bytes: int | None
    sha256: str | None
    row_count: int | None
    break_count: int | None
    layout: str | None
    encoding: str | None
    columns: tuple[str, ...] = ()
    status_counts: Mapping[str, int] = Field(default_factory=dict)
    completed_jpy: int | None
    refunded_jpy: int | None
    url_host: str
    attempts: int
    last_error: str | None
    received_at: AwareDatetime
    stored_at: AwareDatetime | None
    expires_at: AwareDatetime


class FileList(Message):
    """Files, newest first."""

    files: tuple[FileView, ...]


class FileRowView(Message):
    """One row of a file: its line, and every column as it stands there."""

    line: int
    cells: Mapping[str, str]


class FilePage(Message):
    """Some rows of a file. Pages count from 1; ``pages`` is None where the file has not been read to its end.

    ``problem`` says where it cannot be read further.
    """

    file_id: UUID
    page: int
    pages: int | None
    row_count: int | None
    rows: tuple[FileRowView, ...]
    problem: str | None = None
