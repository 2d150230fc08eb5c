"""A refunded purchase: bonuses that were spent come back, bonuses that were earned are taken back.

The refunds of a purchase never move more than the purchase moved, per bonus currency and direction.
Source: docs/providers/loymax.md, "Loyalty effects".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from handlers.loyalty.announcing import announce_bonuses
from handlers.loyalty.books import REDEEMED, REWARDS, bonus_account, bonuses, debt_account, refund_reference
from handlers.loyalty.cheque import BonusSum, sum_bonuses, warnings_of
from handlers.loyalty.members import remember_currency, remember_debt, survivor_for_update
from handlers.loyalty.tables import LoymaxMember, LoymaxPurchase, LoymaxPurchaseBonus
from hub.capability import handler
from hub.errors import NotYet, PermanentError
from hub.ledger.model import Move
from schemas.loymax import PurchaseRefunded, RefundedPurchase

if TYPE_CHECKING:
    from hub.deliver.context import Context

REFUND: Final = "refund"
PURCHASE_WAIT_S_MAX: Final = 86_400.0
"""How long a refund waits for its purchase before it parks."""


@dataclass(frozen=True, slots=True)
class Reversal:
    """What one refund moves in one bonus currency, in ten-thousandths.

    ``returned`` goes back to the member, ``taken`` leaves the balance, ``owed`` becomes a debt; ``excess`` is what the
    refund asks for beyond the purchase, ``short`` what the member no longer has; these two are not moved.
    """

    currency_id: str
    returned_minor: int = 0
    taken_minor: int = 0
    owed_minor: int = 0
    excess_minor: int = 0
    short_minor: int = 0


@handler
async def apply_refund(refund: PurchaseRefunded, ctx: Context) -> None:
    """Post a refund's bonuses in one entry; a second event of the same refund changes nothing.

    The balance never goes below zero: what the member has spent meanwhile is left out and listed for a person, or
    recorded as a debt where the route says ``overdraft: true``. Raises NotYet while the purchase is unknown.
    """
    cheque = refund.operation.purchase_data
    if not cheque.is_refund:
        raise PermanentError(f"refund {cheque.purchase_id} says that it is none")
    ctx.tag("loymax_refund", cheque.purchase_id)
    sums = sum_bonuses(cheque)
    purchase = await _purchase(refund.refunded, ctx)
    ctx.tag("loymax_purchase", purchase.purchase_id)
    member = await survivor_for_update(ctx, purchase.member_id)
    reference = refund_reference(cheque.purchase_id)
    if await ctx.ledger.find(reference) is not None:
        ctx.conclude("already_applied")
        return
    if (await survivor_for_update(ctx, refund.customer_info.customer_id)).member_id != member.member_id:
        raise PermanentError(f"refund {cheque.purchase_id} names another member than purchase {purchase.purchase_id}")

    overdraft = ctx.options.get("overdraft") is True
    reversals = [await _reverse(found, purchase, member, overdraft, ctx) for found in sums]
    moves = _moves(reversals, member)
    if moves:
        data: dict[str, object] = {"member_id": member.member_id, "purchase_id": purchase.purchase_id}
        if warnings := warnings_of(cheque):
            data["warnings"] = warnings
        await ctx.ledger.post(reference, REFUND, moves, data=data)
        await _announce(reversals, reference, member, ctx)
    else:
        ctx.conclude("no_bonuses")
    _list_for_a_person(reversals, ctx)


async def _purchase(refunded: RefundedPurchase, ctx: Context) -> LoymaxPurchase:
    find = select(LoymaxPurchase).with_for_update()
    if refunded.purchase_id is not None:
        find = find.where(LoymaxPurchase.purchase_id == refunded.purchase_id)
    elif refunded.external_id is not None:
        find = find.where(LoymaxPurchase.external_id == refunded.external_id)
    else:
        raise PermanentError("the refund names no purchase")
    name = refunded.purchase_id or refunded.external_id
    purchases = (await ctx.session.scalars(find.limit(2))).all()
    if not purchases:
        raise NotYet(f"purchase {name} has not come yet", within_s=PURCHASE_WAIT_S_MAX)
    if len(purchases) > 1:
        raise PermanentError(f"more than one purchase is called {name}")
    return purchases[0]


async def _reverse(
    asked: BonusSum, purchase: LoymaxPurchase, member: LoymaxMember, overdraft: bool, ctx: Context
) -> Reversal:
    # The purchase is locked, so two of its refunds take their shares one after another.
    moved = await ctx.session.get(LoymaxPurchaseBonus, (purchase.purchase_id, asked.currency_id))
    if moved is None:
        return Reversal(asked.currency_id, excess_minor=asked.withdrawn_minor + asked.rewarded_minor)
    returned = min(asked.withdrawn_minor, moved.withdrawn_minor - moved.withdraw_refunded_minor)
    take = min(asked.rewarded_minor, moved.rewarded_minor - moved.reward_refunded_minor)
    balance = await ctx.ledger.balance(bonus_account(member.member_id, asked.currency_id))
    taken = min(take, balance.amount_minor + returned)
    owed = take - taken if overdraft else 0
    moved.withdraw_refunded_minor += returned
    moved.reward_refunded_minor += taken + owed
    remember_currency(member, asked.currency_id)
    if owed:
        remember_debt(member, asked.currency_id)
    return Reversal(
        asked.currency_id,
        returned_minor=returned,
        taken_minor=taken,
        owed_minor=owed,
        excess_minor=asked.withdrawn_minor - returned + asked.rewarded_minor - take,
        short_minor=take - taken - owed,
    )


def _moves(reversals: Sequence[Reversal], member: LoymaxMember) -> list[Move]:
    # Credits before debits: what comes back may pay for what is taken back.
    returned: list[Move] = []
    taken: list[Move] = []
    for found in reversals:
        account = bonus_account(member.member_id, found.currency_id)
        debt = debt_account(member.member_id, found.currency_id)
        if found.returned_minor:
            returned.append(Move(REDEEMED, account, bonuses(found.returned_minor)))
        if found.taken_minor:
            taken.append(Move(account, REWARDS, bonuses(found.taken_minor)))
        if found.owed_minor:
            taken.append(Move(debt, REWARDS, bonuses(found.owed_minor)))
    return [*returned, *taken]


async def _announce(reversals: Sequence[Reversal], reference: str, member: LoymaxMember, ctx: Context) -> None:
    for found in reversals:
        if found.returned_minor or found.taken_minor:
            await announce_bonuses(
                "loyalty.bonus.reversed",
                ctx,
                member_id=member.member_id,
                reference=reference,
                change_minor=found.returned_minor - found.taken_minor,
                balance=await ctx.ledger.balance(bonus_account(member.member_id, found.currency_id)),
            )


def _list_for_a_person(reversals: Sequence[Reversal], ctx: Context) -> None:
    excess = sum(found.excess_minor for found in reversals)
    short = sum(found.short_minor for found in reversals)
    if excess:
        ctx.review("refund_exceeds_purchase", f"the refund asks for {bonuses(excess)} more than the purchase moved")
    elif short:
        ctx.review("bonuses_already_spent", f"the member no longer has {bonuses(short)} that should be taken back")
