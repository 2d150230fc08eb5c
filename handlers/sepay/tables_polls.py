"""How far the bank statement has been read. Source: docs/providers/sepay.md, "Reconciliation"."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import BigInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from handlers.sepay.tables import Base

STATEMENT: Final = "statement"


class PayStatementPoll(Base):
    """One row: the statement is known up to ``covered_until``, read last at ``polled_at``. ``healed`` only grows."""

    __tablename__ = "pay_statement_polls"

    name: Mapped[str] = mapped_column(String(50), primary_key=True)
    covered_until: Mapped[datetime]
    polled_at: Mapped[datetime]
    rows_read: Mapped[int] = mapped_column(BigInteger)
    healed: Mapped[int] = mapped_column(BigInteger)
