"""The handler that is measured: one journal entry of two postings with a checked balance, and one message."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from hub.capability import Capability, handler
from hub.ledger import Account, Move
from hub.money import Money

if TYPE_CHECKING:
    from hub.deliver.context import Context

CLEARING = Account("bench:clearing", "VND", "debit", running=False)


class Deposit(BaseModel):
    """What the load sends: about 550 bytes of JSON. A poison event is one that the handler can never take."""

    model_config = ConfigDict(frozen=True)

    id: str
    customer: str
    wallet: str
    amount: int
    is_poison: bool = False


class PoisonError(Exception):
    """The handler's own failure, as a bug in it would be."""


def wallet_of(deposit: Deposit) -> Account:
    return Account(f"bench:wallet:{deposit.wallet}", "VND", "credit")


@handler(accounts=lambda deposit: [wallet_of(deposit)])
async def credit(deposit: Deposit, ctx: Context) -> None:
    """Move the amount from clearing to the customer's wallet and say so."""
    amount = Money(deposit.amount, "VND")
    await ctx.ledger.post(f"bench:{deposit.id}", "deposit", [Move(CLEARING, wallet_of(deposit), amount)])
    await ctx.publish({"id": deposit.id, "customer": deposit.customer}, routing_key="bench.credited")
    if deposit.is_poison:
        # After its effects, so that what must be undone is there.
        raise PoisonError(deposit.id)


capability = Capability(name="bench", handlers={"credit": credit}, schemas={"Deposit": Deposit})
