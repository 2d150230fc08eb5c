"""A capability for the console's tests: a shop whose handlers do what an order says; every page then has something."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from hub.calls.outcome import Outcome, Settled, Unknown
from hub.capability import Capability, calls, handler
from hub.console.offered import Asked, Cell, EventLink, Mark, OfferedFile, OfferedPage, OfferedTable, PageLink
from hub.errors import NotYet, PermanentError
from hub.event import Event
from hub.ledger import Account, Move
from hub.money import Money

if TYPE_CHECKING:
    from hub.api import HubApi
    from hub.deliver.context import Context

TILL = Account("shop:till", "JPY", "debit", running=False)
CLOSED: set[str] = set()
"""Shelves that are empty: orders for them cannot be booked."""

ROUTING = """\
version: 1
capabilities: [tests.browser.shop]
sources:
  shop:
    webhook: { path: /webhooks/shop, auth: { scheme: api_key, prefix: Apikey, secret: "${SHOP_WEBHOOK_KEY}" } }
    event: { type: data.type, key: data.customer, id: data.id, same: [data.amount], schema: shop.Order }
    mask: [data.phone]
  warehouse:
    queue: { name: warehouse.in, exchange: warehouse.events, bind: ["stock.#"] }
    event: { type: routing_key, key: data.shelf }
destinations:
  loyalty: { exchange: loyalty.events, routing_key: "{event.type}", bind: { loyalty.platform: ["#"] } }
  fraud-desk: { queue: fraud.orders, rate: { per_second: 50 } }
routes:
  - { name: book-order, match: order.paid, handle: shop.book, publish: loyalty }
  - { name: tell-fraud-desk, match: order.paid, when: data.amount >= 100000, publish: fraud-desk }
  - name: give-cashback
    match: order.cashback
    handle: shop.give_cashback
    retry: { attempts: 4, first: 30m, longest: 2h }
  - { name: look-at-refund, match: order.refunded, handle: shop.look }
  - { name: await-parcel, match: order.shipped, handle: shop.await_parcel }
  - { name: sweep-orders, match: shop.sweep, handle: shop.sweep }
  - { name: watch-stock, match: "stock.#", publish: loyalty, disabled: true }
schedules:
  sweep-orders: { cron: "0 3 * * *", zone: Asia/Tokyo, emit: shop.sweep }
providers:
  acme: { in_flight: 8 }
"""


class Order(BaseModel):
    """One order."""

    id: str
    type: str
    customer: str
    amount: int
    code: str
    shelf: str = "a"
    phone: str = ""


@handler
async def book(order: Order, ctx: Context) -> None:
    """Book the order, unless its shelf is empty."""
    ctx.tag("order_code", order.code)
    if order.shelf in CLOSED:
        raise PermanentError(f"shelf {order.shelf} is empty: order {order.code} cannot be booked")
    member = Account(f"member:{order.customer}", "JPY", "credit")
    await ctx.ledger.post(f"order:{order.id}", "sale", [Move(TILL, member, Money(order.amount, "JPY"))])
    await ctx.publish({"order": order.code, "amount": order.amount})


@calls("acme")
async def give_cashback(order: Order, ctx: Context) -> None:
    """Ask the provider, which does not always say what it did."""

    async def send(request: Any, _key: str) -> Outcome:
        return Unknown("no answer within 30 s") if request["amount"] > 500 else Settled({"paid": request["amount"]})

    ctx.tag("order_code", order.code)
    outcome = await ctx.call("give", send, {"amount": order.amount}, lookup=send)
    if isinstance(outcome, Unknown):
        raise NotYet("acme has not said what became of it")


@handler
async def look(order: Order, ctx: Context) -> None:
    """Somebody must look at every refund."""
    ctx.review("amount_differs", f"order {order.code}: {order.amount} yen were given back, more than were paid")


@handler
async def await_parcel(order: Order, ctx: Context) -> None:
    """Wait for what does not come."""
    raise NotYet(f"the parcel of {order.code} has not arrived")


@handler
async def sweep(event: Event, ctx: Context) -> None:
    """Nothing to sweep."""


async def _read(_api: HubApi, asked: Asked) -> OfferedTable:
    rows: list[list[Cell]] = [
        ["march.csv", Mark("done"), 1_234, Money(5_000, "JPY"), datetime(2026, 3, 31, 15, tzinfo=UTC), None],
        ["april.csv", Mark("failed"), 7, Money(-12, "JPY"), datetime(2026, 4, 30, 15, tzinfo=UTC), EventLink("0" * 36)],
    ]
    wanted = asked.get("month", "")
    shown = [row for row in rows if str(row[0]).startswith(wanted)]
    take = PageLink("Workbook", "files", {"month": wanted or "march"}, file="workbook")
    columns = ["file", "state", "rows", "total", "day", "event"]
    return OfferedTable(columns, shown, files=[take])


async def _workbook(_api: HubApi, asked: Asked) -> OfferedFile:
    return OfferedFile("ポイント.csv", "text/csv", f"month\n{asked.get('month', '')}\n".encode())


capability = Capability(
    name="shop",
    handlers={
        "book": book,
        "give_cashback": give_cashback,
        "look": look,
        "await_parcel": await_parcel,
        "sweep": sweep,
    },
    schemas={"Order": Order},
    console=[
        OfferedPage(
            name="files",
            title="Settlement files",
            sentence="What the provider has settled, day by day.",
            fields={"month": "Month"},
            table=_read,
            files={"workbook": _workbook},
        )
    ],
)
