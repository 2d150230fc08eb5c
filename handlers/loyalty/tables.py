"""What the hub remembers of Loymax: who was merged into whom, and what each purchase moved.

Balances are not here: they live in the ledger. Amounts are ten-thousandths of a bonus.
Source: docs/providers/loymax.md, "Loyalty effects".
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, MetaData, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from hub.store.metadata import NAMING_CONVENTION
from hub.store.types import Json, UtcTime

ID_CHARS_MAX = 64
metadata = MetaData(naming_convention=NAMING_CONVENTION)


class Base(DeclarativeBase):
    """Every table of this capability."""

    metadata = metadata
    type_annotation_map = {  # noqa: RUF012 - read by SQLAlchemy
        datetime: UtcTime(),
        list[str]: Json,
    }


class LoymaxMember(Base):
    """A member whose bonuses we keep. Its row is locked by everything that moves them.

    ``currencies`` names the bonus currencies of which there is an account, ``debts`` those of which there is a debt.
    ``merged_into`` is set once and for ever.
    """

    __tablename__ = "loymax_members"
    __table_args__ = (
        Index(None, "merged_into"),
        CheckConstraint("merged_into <> member_id", name="not_itself"),
    )

    member_id: Mapped[str] = mapped_column(String(ID_CHARS_MAX), primary_key=True)
    currencies: Mapped[list[str]]
    debts: Mapped[list[str]]
    merged_into: Mapped[str | None] = mapped_column(String(ID_CHARS_MAX), ForeignKey("loymax_members.member_id"))
    merged_at: Mapped[datetime | None]
    merge_event_id: Mapped[UUID | None]


class LoymaxPurchase(Base):
    """A purchase that has been applied, also one that moved no bonuses."""

    __tablename__ = "loymax_purchases"
    __table_args__ = (Index(None, "external_id"),)

    purchase_id: Mapped[str] = mapped_column(String(ID_CHARS_MAX), primary_key=True)
    external_id: Mapped[str | None] = mapped_column(String(ID_CHARS_MAX))
    member_id: Mapped[str] = mapped_column(String(ID_CHARS_MAX))
    event_id: Mapped[UUID]
    applied_at: Mapped[datetime]


class LoymaxPurchaseBonus(Base):
    """What a purchase moved in one bonus currency, and how much of that its refunds have moved back."""

    __tablename__ = "loymax_purchase_bonuses"
    __table_args__ = (
        CheckConstraint("reward_refunded >= 0 AND reward_refunded <= rewarded", name="reward_refunded"),
        CheckConstraint("withdraw_refunded >= 0 AND withdraw_refunded <= withdrawn", name="withdraw_refunded"),
    )

    purchase_id: Mapped[str] = mapped_column(ForeignKey("loymax_purchases.purchase_id"), primary_key=True)
    currency_id: Mapped[str] = mapped_column(String(ID_CHARS_MAX), primary_key=True)
    rewarded_minor: Mapped[int] = mapped_column("rewarded", BigInteger)
    withdrawn_minor: Mapped[int] = mapped_column("withdrawn", BigInteger)
    reward_refunded_minor: Mapped[int] = mapped_column("reward_refunded", BigInteger)
    withdraw_refunded_minor: Mapped[int] = mapped_column("withdraw_refunded", BigInteger)
