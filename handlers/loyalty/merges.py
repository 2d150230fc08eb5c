"""Two members become one: the balance of the one that ceases moves to the survivor.

Source: docs/providers/loymax.md, "Loyalty effects".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from handlers.loyalty.announcing import announce_bonuses
from handlers.loyalty.books import bonus_account, debt_account, merge_reference
from handlers.loyalty.members import member_for_update, remember_currency, remember_debt, survivor_for_update
from handlers.loyalty.tables import LoymaxMember
from hub.capability import handler
from hub.ledger.model import Move, transfer
from schemas.loymax import ProfilesMerged

if TYPE_CHECKING:
    from hub.deliver.context import Context

MERGE: Final = "merge"


@handler
async def apply_merge(merge: ProfilesMerged, ctx: Context) -> None:
    """Move everything that the ceased member has, and owes, to the survivor in one entry.

    From now on late events of the ceased member are booked under the survivor. A second event of the same merge
    changes nothing; one that contradicts an earlier merge is left to a person.
    """
    ceased_id, named_id = merge.ceased.customer_id, merge.survivor.customer_id
    ctx.tag("loymax_member", ceased_id)
    ctx.tag("loymax_member", named_id)
    ceased = await member_for_update(ctx, ceased_id)
    survivor = await survivor_for_update(ctx, named_id)
    if ceased.merged_into is not None:
        if (await survivor_for_update(ctx, ceased_id)).member_id == survivor.member_id:
            ctx.conclude("already_merged")
        else:
            ctx.review("merge_conflict", f"member {ceased_id} was merged into {ceased.merged_into} before")
        return
    if survivor.member_id == ceased_id:
        ctx.review("merge_conflict", f"member {ceased_id} is the survivor of {named_id}")
        return

    ceased.merged_into, ceased.merged_at, ceased.merge_event_id = survivor.member_id, ctx.now, ctx.event.id
    for currency_id in ceased.currencies:
        remember_currency(survivor, currency_id)
    for currency_id in ceased.debts:
        remember_debt(survivor, currency_id)
    await ctx.session.flush()
    await _move_everything(ceased, survivor, ctx)


async def _move_everything(ceased: LoymaxMember, survivor: LoymaxMember, ctx: Context) -> None:
    reference = merge_reference(ceased.member_id)
    balances: dict[str, Move] = {}
    debts: list[Move] = []
    for currency_id in ceased.currencies:
        source = bonus_account(ceased.member_id, currency_id)
        if balance := await ctx.ledger.balance(source):
            balances[currency_id] = transfer(source, bonus_account(survivor.member_id, currency_id), balance)
    for currency_id in ceased.debts:
        owing = debt_account(ceased.member_id, currency_id)
        if debt := await ctx.ledger.balance(owing):
            debts.append(transfer(owing, debt_account(survivor.member_id, currency_id), debt))
    moves = [*balances.values(), *debts]
    if moves:
        data = {"ceased": ceased.member_id, "survivor": survivor.member_id}
        await ctx.ledger.post(reference, MERGE, moves, data=data)
    for currency_id, move in balances.items():
        await announce_bonuses(
            "loyalty.bonus.merged",
            ctx,
            member_id=survivor.member_id,
            other_member_id=ceased.member_id,
            reference=reference,
            change_minor=move.amount.amount_minor,
            balance=await ctx.ledger.balance(bonus_account(survivor.member_id, currency_id)),
        )
