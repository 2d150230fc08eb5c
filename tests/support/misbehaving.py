"""A capability for tests, loaded by name like any other: its handlers do what the order says, also what nobody should.

An order that is handled posts one entry of one yen under its id, so that the books tell how often each was handled.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from hub.capability import Capability, calls, handler
from hub.ledger import Account, Move
from hub.money import Money

if TYPE_CHECKING:
    from hub.deliver.context import Context

TILL = Account("shop:till", "JPY", "debit", running=False)
SALES = Account("shop:sales", "JPY", "credit", running=False)
TIMEOUT_S = 0.5
STOP = "stop "
SECRET_IN_ERROR = "4111111111111111"

ROUTING = """\
version: 1
capabilities: [tests.support.misbehaving]
sources:
  shop:
    webhook:
      path: /webhooks/shop
      auth: { scheme: api_key, prefix: Apikey, secret: "${SHOP_WEBHOOK_KEY}" }
    queue: { name: shop.in, exchange: shop.events, bind: ["#"] }
    post_events: true
    event: { type: data.type, key: data.key, id: data.id }
destinations:
  copies: { queue: shop.copies }
routes:
  - name: book-order
    match: shop.order
    handle: misbehaving.book
    retry: { attempts: 3, first: 50ms, longest: 100ms }
  - name: copy-order
    match: shop.order
    publish: copies
  - name: call-about-order
    match: shop.call
    handle: misbehaving.call
    retry: { attempts: 3, first: 50ms, longest: 100ms }
"""


class Order(BaseModel):
    """One order. ``do`` is how its handler behaves."""

    id: str
    key: str
    do: str = ""


@handler(timeout_s=TIMEOUT_S)
async def book(order: Order, ctx: Context) -> None:
    """Book the order, and behave as it says."""
    await _behave(order.do)
    await ctx.ledger.post(f"shop:order:{order.id}", "sale", [Move(TILL, SALES, Money(1, "JPY"))])


@calls("nobody", timeout_s=TIMEOUT_S)
async def call(order: Order, ctx: Context) -> None:
    """The same in a task of its own, as handlers that call a provider run."""
    await _behave(order.do)
    await ctx.ledger.post(f"shop:order:{order.id}", "sale", [Move(TILL, SALES, Money(1, "JPY"))])


async def _behave(do: str) -> None:
    match do:
        case "raise":
            raise RuntimeError("the handler is broken")
        case "hang":
            await asyncio.Event().wait()
        case "swallow":
            while True:
                try:
                    await asyncio.sleep(3_600)
                except asyncio.CancelledError:
                    continue
        case "cancel":
            raise asyncio.CancelledError
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "slow":
            await asyncio.sleep(0.02)
        case _ if do.startswith(STOP):
            stop_this_process(Path(do.removeprefix(STOP)))


def stop_this_process(once: Path) -> None:
    """As an operator's SIGSTOP in the middle of a transaction; ``once``: the file that says which process it was."""
    with suppress(FileExistsError), once.open("x") as mark:
        mark.write(str(os.getpid()))
        mark.flush()
        os.kill(os.getpid(), signal.SIGSTOP)


capability = Capability(name="misbehaving", handlers={"book": book, "call": call}, schemas={"Order": Order})
