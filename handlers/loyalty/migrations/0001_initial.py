"""Loymax members and what their purchases moved."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hub.store.types import Json, UtcTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "loymax_members",
        sa.Column("member_id", sa.String(length=64), nullable=False),
        sa.Column("currencies", Json, nullable=False),
        sa.Column("debts", Json, nullable=False),
        sa.Column("merged_into", sa.String(length=64), nullable=True),
        sa.Column("merged_at", UtcTime(), nullable=True),
        sa.Column("merge_event_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint("merged_into <> member_id", name="ck_loymax_members_not_itself"),
        sa.ForeignKeyConstraint(["merged_into"], ["loymax_members.member_id"], name="fk_loymax_members_merged_into"),
        sa.PrimaryKeyConstraint("member_id", name="pk_loymax_members"),
    )
    op.create_index("ix_loymax_members_merged_into", "loymax_members", ["merged_into"], unique=False)
    op.create_table(
        "loymax_purchases",
        sa.Column("purchase_id", sa.String(length=64), nullable=False),
        sa.Column("external_id", sa.String(length=64), nullable=True),
        sa.Column("member_id", sa.String(length=64), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("applied_at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("purchase_id", name="pk_loymax_purchases"),
    )
    op.create_index("ix_loymax_purchases_external_id", "loymax_purchases", ["external_id"], unique=False)
    op.create_table(
        "loymax_purchase_bonuses",
        sa.Column("purchase_id", sa.String(length=64), nullable=False),
        sa.Column("currency_id", sa.String(length=64), nullable=False),
        sa.Column("rewarded", sa.BigInteger(), nullable=False),
        sa.Column("withdrawn", sa.BigInteger(), nullable=False),
        sa.Column("reward_refunded", sa.BigInteger(), nullable=False),
        sa.Column("withdraw_refunded", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "reward_refunded >= 0 AND reward_refunded <= rewarded", name="ck_loymax_purchase_bonuses_reward_refunded"
        ),
        sa.CheckConstraint(
            "withdraw_refunded >= 0 AND withdraw_refunded <= withdrawn",
            name="ck_loymax_purchase_bonuses_withdraw_refunded",
        ),
        sa.ForeignKeyConstraint(
            ["purchase_id"], ["loymax_purchases.purchase_id"], name="fk_loymax_purchase_bonuses_purchase_id"
        ),
        sa.PrimaryKeyConstraint("purchase_id", "currency_id", name="pk_loymax_purchase_bonuses"),
    )
