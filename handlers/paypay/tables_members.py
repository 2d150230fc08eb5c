"""What the hub itself knows of members, where no shop system is asked: their bookings, and where their points lie.

A lot is one ledger account; how many points it holds stands in the ledger alone. Source: docs/providers/paypay.md,
"Members and their points".
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Final
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Date, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from handlers.paypay.tables import ID_MAX, Base, among

PURCHASE: Final = "purchase"
PROMOTION: Final = "promotion"
POINT_SOURCES: Final = (PURCHASE, PROMOTION)
NEVER: Final = date(9999, 12, 31)
"""The last day of points that do not expire: a key holds no null."""


class MemberBooking(Base):
    """One booking of a member. ``booked_at`` is when it was made; a cancelled one does not count."""

    __tablename__ = "paypay_member_bookings"
    __table_args__ = (Index(None, "member_id", "booked_at"),)

    booking_id: Mapped[str] = mapped_column(String(ID_MAX), primary_key=True)
    member_id: Mapped[str] = mapped_column(String(ID_MAX))
    booked_at: Mapped[datetime]
    cancelled_at: Mapped[datetime | None]


class PointLot(Base):
    """A member's points of one source that end on one day; they lie on the ledger account of this lot."""

    __tablename__ = "paypay_point_lots"
    __table_args__ = (
        UniqueConstraint("member_id", "source", "last_day"),
        CheckConstraint(among("source", POINT_SOURCES), name="source"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    member_id: Mapped[str] = mapped_column(String(ID_MAX))
    source: Mapped[str] = mapped_column(String(20))
    last_day: Mapped[date] = mapped_column(Date)


class HeldLot(Base):
    """How many points of a lot an exchange has taken, and how many of them came back by reversals."""

    __tablename__ = "paypay_held_lots"
    __table_args__ = (
        CheckConstraint("points > 0", name="points"),
        CheckConstraint("returned_points >= 0 AND returned_points <= points", name="returned_points"),
    )

    cashback_request_id: Mapped[UUID] = mapped_column(ForeignKey("paypay_cashback_request.id"), primary_key=True)
    lot_id: Mapped[UUID] = mapped_column(ForeignKey("paypay_point_lots.id"), primary_key=True)
    position: Mapped[int]
    """The order in which they were taken."""
    points: Mapped[int] = mapped_column(BigInteger)
    returned_points: Mapped[int] = mapped_column(BigInteger)
