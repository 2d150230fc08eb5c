"""A shop with handlers of every sort, for explaining its events."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, SecretStr

from hub.calls.outcome import Outcome, Settled
from hub.capability import HandlerSpec, calls, handler
from hub.deliver.context import Context
from hub.errors import NotYet, PermanentError, RetryableError
from hub.event import Event
from hub.ledger import Account
from hub.ledger.model import Move
from hub.money import Money

TILL = Account("shop:till", "VND", "debit", running=False)
SALES = Account("shop:sales", "VND", "credit", running=False)
SENT: list[Any] = []
"""Requests that really reached the provider."""


def points_of(customer: str) -> Account:
    return Account(f"points:{customer}", "VND", "credit")


class Sale(BaseModel):
    """What the shop tells about a sale."""

    key: str
    number: str
    amount: int
    card: str = ""


class Charge(BaseModel):
    """A request to the provider, with a secret that nobody may see."""

    amount: int
    card: str
    token: SecretStr
    api_key: str = "sk_live_1"


@handler
async def book(sale: Sale, ctx: Context) -> None:
    """Post the sale, tell the world, and thank the customer later."""
    moves = [Move(debit=TILL, credit=SALES, amount=Money(sale.amount, "VND"))]
    await ctx.ledger.post(f"sale:{sale.number}", "sale", moves)
    await ctx.publish({"number": sale.number, "paid_with": sale.card}, routing_key="shop.sold")
    await ctx.emit("sale.booked", sale, key=sale.key)
    await ctx.after(3600, "sale.thanks", {"number": sale.number}, key=sale.key)
    ctx.tag("sale", sale.number)
    if sale.amount > 1_000_000:
        ctx.review("large_sale", f"{sale.amount} is a large sale")


@handler
async def reward(sale: Sale, ctx: Context) -> None:
    """Give a tenth of the sale as points."""
    moves = [Move(debit=SALES, credit=points_of(sale.key), amount=Money(sale.amount // 10, "VND"))]
    entry = await ctx.ledger.post(f"reward:{sale.number}", "reward", moves)
    after = entry.posting_of(points_of(sale.key)).after
    assert after is not None
    await ctx.publish({"points": after.amount_minor}, to="loyalty", routing_key="points.given")


@handler
async def spend(sale: Sale, ctx: Context) -> None:
    """Take points that may not be there."""
    moves = [Move(debit=points_of(sale.key), credit=SALES, amount=Money(sale.amount, "VND"))]
    await ctx.ledger.post(f"spent:{sale.number}", "spend", moves)


@handler
async def go_wrong(event: Event, ctx: Context) -> None:
    """Fail as the payload asks."""
    await ctx.publish({"never": "sent"}, to="loyalty")
    match event.data["how"]:
        case "permanent":
            raise PermanentError(f"card {event.data['card']} is not ours")
        case "retryable":
            raise RetryableError("busy", delay_s=7.0)
        case "not_yet":
            raise NotYet("the other one has not come")
    raise ValueError("a mistake of ours")


@handler
async def repeat(event: Event, ctx: Context) -> None:
    """Emit itself, for ever."""
    await ctx.emit("loop.again", event.payload, key=event.key)


async def charge_card(request: Charge, key: str) -> Outcome:
    SENT.append((request, key))
    return Settled({"charge": "ch_1"})


@calls("bank")
async def charge(sale: Sale, ctx: Context) -> None:
    """Call the bank, then post."""
    request = Charge(amount=sale.amount, card=sale.card, token=SecretStr("tok_secret"))
    outcome = await ctx.call("charge", charge_card, request)
    assert isinstance(outcome, Settled)
    await ctx.ledger.post(
        f"charge:{sale.number}", "charge", [Move(debit=TILL, credit=SALES, amount=Money(sale.amount, "VND"))]
    )
    await ctx.publish({"charge": outcome.data["charge"]}, routing_key="charge.made")


HANDLERS: dict[str, HandlerSpec] = {
    "book": book,
    "reward": reward,
    "spend": spend,
    "go_wrong": go_wrong,
    "repeat": repeat,
    "charge": charge,
}

ROUTES = """
    mask: [data.card, headers.x-customer]
destinations:
  sales: { queue: shop.sales }
  loyalty: { queue: shop.loyalty }
routes:
  - { name: forward-sale, match: sale.made, publish: loyalty }
  - { name: book-sale, match: sale.made, handle: test.book, publish: sales }
  - { name: reward-sale, match: sale.booked, handle: test.reward }
  - { name: watch-large-sales, match: sale.made, when: data.amount > 1000000 && data.key != "7", publish: sales }
  - { name: spend-points, match: points.spent, handle: test.spend }
  - { name: go-wrong, match: wrong.asked, handle: test.go_wrong, retry: { attempts: 3, first: 5s, longest: 1m } }
  - { name: book-wrong, match: wrong.asked, publish: sales }
  - { name: repeat, match: loop.again, handle: test.repeat }
  - { name: charge-card, match: card.charged, handle: test.charge, publish: sales }
  - { name: strict, match: strict.asked, when: data.there == 1, publish: sales }
  - { name: resting, match: sale.made, publish: sales, disabled: true }
"""
