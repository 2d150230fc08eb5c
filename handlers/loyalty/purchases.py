"""A confirmed purchase: the bonuses it earned and the bonuses it was paid with.

Source: docs/providers/loymax.md, "Loyalty effects".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from handlers.loyalty.announcing import announce_bonuses
from handlers.loyalty.books import OPENING, REDEEMED, REWARDS, bonus_account, bonuses, purchase_reference
from handlers.loyalty.cheque import BonusSum, sum_bonuses, warnings_of
from handlers.loyalty.members import remember_currency, survivor_for_update
from handlers.loyalty.tables import LoymaxMember, LoymaxPurchase, LoymaxPurchaseBonus
from hub.capability import handler
from hub.errors import PermanentError
from hub.ledger.model import Move, PostedEntry
from schemas.loymax import PurchaseConfirmed, PurchaseData

if TYPE_CHECKING:
    from hub.deliver.context import Context

PURCHASE = "purchase"


@handler
async def apply_purchase(purchase: PurchaseConfirmed, ctx: Context) -> None:
    """Post a purchase's bonuses in one entry, credits first; a second event of the same purchase changes nothing.

    Loymax is the system of record: what the member spent beyond the balance that we know is first credited from
    ``loymax:opening`` in the same entry and tagged ``loymax_opening``, never refused.
    """
    cheque = purchase.operation.purchase_data
    if cheque.is_refund:
        raise PermanentError(f"purchase {cheque.purchase_id} says that it is a refund")
    ctx.tag("loymax_purchase", cheque.purchase_id)
    sums = sum_bonuses(cheque)
    member = await survivor_for_update(ctx, purchase.customer_info.customer_id)
    if await ctx.session.get(LoymaxPurchase, cheque.purchase_id) is not None:
        ctx.conclude("already_applied")
        return
    await _remember(cheque, sums, member, ctx)
    if not sums:
        ctx.conclude("no_bonuses")
        return

    opening = await _opening(sums, member, ctx)
    data: dict[str, object] = {"member_id": member.member_id}
    if warnings := warnings_of(cheque):
        data["warnings"] = warnings
    if opening:
        data["opening_minor"] = opening
        ctx.tag("loymax_opening", cheque.purchase_id)
    entry = await ctx.ledger.post(
        purchase_reference(cheque.purchase_id), PURCHASE, _moves(sums, opening, member), data=data
    )
    await _announce(entry, sums, member, ctx)


async def _remember(cheque: PurchaseData, sums: Sequence[BonusSum], member: LoymaxMember, ctx: Context) -> None:
    ctx.session.add(
        LoymaxPurchase(
            purchase_id=cheque.purchase_id,
            external_id=cheque.external_purchase_id,
            member_id=member.member_id,
            event_id=ctx.event.id,
            applied_at=ctx.now,
        )
    )
    await ctx.session.flush()
    for found in sums:
        remember_currency(member, found.currency_id)
        ctx.session.add(
            LoymaxPurchaseBonus(
                purchase_id=cheque.purchase_id,
                currency_id=found.currency_id,
                rewarded_minor=found.rewarded_minor,
                withdrawn_minor=found.withdrawn_minor,
                reward_refunded_minor=0,
                withdraw_refunded_minor=0,
            )
        )
    await ctx.session.flush()


async def _opening(sums: Sequence[BonusSum], member: LoymaxMember, ctx: Context) -> dict[str, int]:
    opening: dict[str, int] = {}
    for found in sums:
        balance = await ctx.ledger.balance(bonus_account(member.member_id, found.currency_id))
        missing = found.withdrawn_minor - found.rewarded_minor - balance.amount_minor
        if missing > 0:
            opening[found.currency_id] = missing
    return opening


def _moves(sums: Sequence[BonusSum], opening: dict[str, int], member: LoymaxMember) -> list[Move]:
    # Credits before debits: bonuses earned with this very purchase may pay for it.
    accounts = {found.currency_id: bonus_account(member.member_id, found.currency_id) for found in sums}
    credits = [Move(OPENING, accounts[currency], bonuses(minor)) for currency, minor in opening.items()]
    credits += [Move(REWARDS, accounts[s.currency_id], bonuses(s.rewarded_minor)) for s in sums if s.rewarded_minor]
    debits = [Move(accounts[s.currency_id], REDEEMED, bonuses(s.withdrawn_minor)) for s in sums if s.withdrawn_minor]
    return [*credits, *debits]


async def _announce(entry: PostedEntry, sums: Sequence[BonusSum], member: LoymaxMember, ctx: Context) -> None:
    for found in sums:
        account = bonus_account(member.member_id, found.currency_id)
        after = entry.posting_of(account).after
        assert after is not None
        if found.rewarded_minor:
            await announce_bonuses(
                "loyalty.bonus.accrued",
                ctx,
                member_id=member.member_id,
                reference=entry.reference,
                change_minor=found.rewarded_minor,
                # Earned first, spent second: the balance in between.
                balance=after + bonuses(found.withdrawn_minor),
            )
        if found.withdrawn_minor:
            await announce_bonuses(
                "loyalty.bonus.redeemed",
                ctx,
                member_id=member.member_id,
                reference=entry.reference,
                change_minor=found.withdrawn_minor,
                balance=after,
            )
