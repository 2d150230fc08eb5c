"""Members: the row that everything about a member's bonuses locks, and the way from a merged member to its survivor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from handlers.loyalty.tables import LoymaxMember
from hub.errors import PermanentError
from hub.store.upserts import insert_for

if TYPE_CHECKING:
    from hub.deliver.context import Context

MERGES_MAX = 1_000
"""The longest chain of merges that is followed; a longer one is a mistake in the data."""


async def member_for_update(ctx: Context, member_id: str) -> LoymaxMember:
    """The member's row, locked until the end of the transaction; made here if there was none."""
    find = select(LoymaxMember).where(LoymaxMember.member_id == member_id).with_for_update()
    member = await ctx.session.scalar(find)
    if member is None:
        row = {"member_id": member_id, "currencies": [], "debts": []}
        new = insert_for(ctx.session.get_bind().dialect.name, LoymaxMember).values(row)
        await ctx.session.execute(new.on_conflict_do_nothing())
        member = (await ctx.session.scalars(find)).one()
    return member


async def survivor_for_update(ctx: Context, member_id: str) -> LoymaxMember:
    """The member that this one's events are booked under, after all its merges, locked."""
    member = await member_for_update(ctx, member_id)
    for _ in range(MERGES_MAX):
        if member.merged_into is None:
            return member
        member = await member_for_update(ctx, member.merged_into)
    raise PermanentError(f"member {member_id}: more than {MERGES_MAX} merges in a row")


def remember_currency(member: LoymaxMember, currency_id: str) -> None:
    """Note that the member has an account of this bonus currency; the row must be locked."""
    if currency_id not in member.currencies:
        # A new list: the database layer does not see a change inside one.
        member.currencies = sorted({*member.currencies, currency_id})


def remember_debt(member: LoymaxMember, currency_id: str) -> None:
    """Note that the member has, or had, a debt of this bonus currency; the row must be locked."""
    if currency_id not in member.debts:
        member.debts = sorted({*member.debts, currency_id})
