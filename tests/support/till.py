"""A capability for fault tests: each sale is booked on its customer's account, and told with the balance after it.

The balance proves the order: a sale that is booked too early, twice or not at all shows in every message behind it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from pydantic import BaseModel

from hub.capability import Capability, handler
from hub.ledger import Account, Move
from hub.money import Money
from tests.support.misbehaving import STOP, stop_this_process

if TYPE_CHECKING:
    from hub.deliver.context import Context

TILL = Account("till:cash", "JPY", "debit", running=False)
WEBHOOK = "/webhooks/till"
ROUTING_KEY = "till.sale"


class Sale(BaseModel):
    """The ``number``-th sale to a customer, from 0. ``do`` is how its handler behaves."""

    id: str
    key: str
    number: int
    amount: int
    do: str = ""


def account_of(sale: Sale) -> Account:
    return Account(f"till:customer:{sale.key}", "JPY", "credit")


@handler(accounts=lambda sale: [account_of(sale)])
async def sell(sale: Sale, ctx: Context) -> None:
    """Book the sale and tell of it."""
    account = account_of(sale)
    await ctx.ledger.post(f"till:{sale.id}", "sale", [Move(TILL, account, Money(sale.amount, "JPY"))])
    if sale.do.startswith(STOP):
        # Its fence and its account are locked now.
        stop_this_process(Path(sale.do.removeprefix(STOP)))
    balance = (await ctx.ledger.balance(account)).amount_minor
    await ctx.publish({"id": sale.id, "key": sale.key, "number": sale.number, "balance": balance}, key=sale.key)


@dataclass(frozen=True, slots=True)
class Names:
    """The broker's objects of one test: a suffix of its own keeps tests apart that share a broker."""

    suffix: str = field(default_factory=lambda: uuid4().hex[:8])

    @property
    def exchange(self) -> str:
        return f"till.events.{self.suffix}"

    @property
    def sales(self) -> str:
        """The queue that the hub reads."""
        return f"till.sales.{self.suffix}"

    @property
    def sold(self) -> str:
        """The queue of what the handler tells."""
        return f"till.sold.{self.suffix}"

    @property
    def copies(self) -> str:
        """The queue of what is forwarded as it came."""
        return f"till.copies.{self.suffix}"

    @property
    def queues(self) -> tuple[str, ...]:
        return self.sales, self.sold, self.copies

    @property
    def exchanges(self) -> tuple[str, ...]:
        return self.exchange, f"hub.{self.sold}", f"hub.{self.copies}"


def routing_of(names: Names) -> str:
    """routing.yaml: sales come from a queue and by webhook, one route books them, another one copies them."""
    return f"""\
version: 1
capabilities: [tests.support.till]
sources:
  till:
    webhook:
      path: {WEBHOOK}
      auth: {{ scheme: api_key, prefix: Apikey, secret: "${{TILL_WEBHOOK_KEY}}" }}
    queue: {{ name: {names.sales}, exchange: {names.exchange} }}
    event: {{ type: {ROUTING_KEY}, key: data.key, id: data.id }}
destinations:
  sold: {{ queue: {names.sold} }}
  copies: {{ queue: {names.copies} }}
routes:
  - name: book-sale
    match: {ROUTING_KEY}
    handle: till.sell
    publish: sold
    retry: {{ attempts: 500, first: 50ms, longest: 500ms }}
  - name: copy-sale
    match: {ROUTING_KEY}
    publish: copies
"""


capability = Capability(name="till", handlers={"sell": sell}, schemas={"Sale": Sale})
