"""What is remembered of PayPay's transaction files. Their content is not here: the file itself is kept, byte for byte.

Source: docs/providers/paypay.md, "Transaction files" and "Tables".
"""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Date, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from handlers.paypay.tables import TEXT_MAX, Base, among

KEY_MAX: Final = 1_024
"""S3 takes no longer ones."""


class FileStatus(StrEnum):
    """Where a transaction file is."""

    RECEIVED = "RECEIVED"
    """Announced, and being fetched."""
    STORED = "STORED"
    """Fetched and kept, not read yet."""
    PARSED = "PARSED"
    """Read, and compared with the books."""
    FAILED = "FAILED"
    """Not fetched for a reason that time does not heal, or kept and not readable: ``last_error`` says which."""
    EXPIRED = "EXPIRED"
    """Could not be fetched as long as its address was good."""


class PayPayTransactionFile(Base):
    """A file that PayPay announced. Of its address only host and hash are kept: the rest lets anybody fetch it."""

    __tablename__ = "paypay_transaction_file_logs"
    __table_args__ = (
        UniqueConstraint("notification_id"),
        Index(None, "received_at"),
        Index(None, "day"),
        CheckConstraint(among("status", tuple(FileStatus)), name="status"),
        CheckConstraint("(storage_key IS NULL) = (sha256 IS NULL)", name="storage_key"),
        CheckConstraint("status NOT IN ('STORED', 'PARSED') OR storage_key IS NOT NULL", name="stored"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    notification_id: Mapped[str] = mapped_column(String(TEXT_MAX))
    event_id: Mapped[UUID]
    """The notification whose address counts: the latest one under this id."""
    file_type: Mapped[str] = mapped_column(String(TEXT_MAX))
    file_name: Mapped[str] = mapped_column(String(TEXT_MAX))
    merchant_id: Mapped[str] = mapped_column(String(TEXT_MAX))
    day: Mapped[date | None] = mapped_column(Date)
    """The day in Japan that it is about, as its name says."""
    url_host: Mapped[str] = mapped_column(String(TEXT_MAX))
    url_hash: Mapped[str] = mapped_column(String(64))
    requested_at: Mapped[datetime | None]
    """When PayPay says that it announced it."""
    status: Mapped[str] = mapped_column(String(20))
    storage_key: Mapped[str | None] = mapped_column(String(KEY_MAX))
    sha256: Mapped[str | None] = mapped_column(String(64))
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    row_count: Mapped[int | None]
    found: Mapped[dict[str, Any] | None]
    """What reading it found: layout, encoding, columns, rows per status, sums."""
    break_count: Mapped[int | None]
    """Rows that did not agree with the books when it was read."""
    attempts: Mapped[int]
    """How often it was tried to fetch it."""
    last_error: Mapped[str | None] = mapped_column(Text)
    review_event_id: Mapped[UUID | None]
    """The event whose delivery asked a person to look, to be closed when it is settled."""
    received_at: Mapped[datetime]
    stored_at: Mapped[datetime | None]
    parsed_at: Mapped[datetime | None]
    expires_at: Mapped[datetime]
    """Until when its address is good."""
    updated_at: Mapped[datetime]

    @property
    def state(self) -> FileStatus:
        return FileStatus(self.status)
