"""Several users at once, in any order: top-ups, purchases, transfers twice, cancellations, renewals, on two hubs.

Whatever happens, money neither appears nor vanishes, no wallet goes below zero, nobody has two licences of one symbol,
and every paid order has given its licence once.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from handlers.sepay.bank_values import bank_time_text
from handlers.sepay.ledger_rules import broken_wallets
from handlers.sepay.tables import PayPaymentIntent
from handlers.sepay.tables_licenses import LICENSE_ACTIVE, PayUserSymbolLicense, SymbolAutoRenewSubscription
from handlers.sepay.tables_orders import PAID, PaySymbolOrder
from tests.scenarios.bank import ACCOUNTS, SHOP_QUEUE, Bank, transfer
from tests.scenarios.shop import ITEM, PRICE, Shop
from tests.support.clock import SettableClock
from tests.support.running import environment, running, until

USERS: Final = ("42", "43", "44")
ROUNDS: Final = 3
STEPS_PER_ROUND: Final = 24
MAY_REFUSE: Final = {200, 400, 409, 429}


class Crowd:
    """Users who do what the dice say, over one or two hubs of the same database."""

    def __init__(self, banks: list[Bank], dice: random.Random) -> None:
        self.banks = banks
        self.dice = dice
        self.refused: Counter[str] = Counter()
        self._transfers = iter(range(1, 10**6))

    async def step(self) -> None:
        """One thing that one user does, at one of the hubs."""
        bank, user = self.dice.choice(self.banks), self.dice.choice(USERS)
        await self.dice.choice([self._top_up, self._buy, self._buy, self._settle_an_order, self._pay_some_intent])(
            bank, user
        )

    async def _top_up(self, bank: Bank, user: str) -> None:
        amount = self.dice.choice([50_000, PRICE, 3 * PRICE])
        asked = await self._call(bank, "/wallet/topup/", {"amount": amount}, user)
        if asked:
            await self._transfer(bank, asked["order_code"], amount)

    async def _buy(self, bank: Bank, user: str) -> None:
        method = self.dice.choice(["wallet", "wallet", "sepay_transfer"])
        item = {**ITEM, "auto_renew": self.dice.random() < 0.5}
        await self._call(bank, "/symbol/orders/", {"items": [item], "payment_method": method}, user)

    async def _settle_an_order(self, bank: Bank, user: str) -> None:
        _, history = await bank.call("GET", "/symbol/orders/history?status=pending_payment", user=user)
        if history["results"]:
            order_id = self.dice.choice(history["results"])["order_id"]
            word = self.dice.choice(["pay-wallet", "pay-sepay", "topup-sepay", "cancel"])
            await self._call(bank, f"/symbol/order/{order_id}/{word}", None, user)

    async def _pay_some_intent(self, bank: Bank, _user: str) -> None:
        intents = await bank.entities(PayPaymentIntent)
        if intents:
            intent = self.dice.choice(intents)
            await self._transfer(bank, intent.order_code, intent.amount_minor)

    async def _transfer(self, bank: Bank, order_code: str, amount: int) -> None:
        booked_at = bank_time_text(bank.running.hub.clock.now())
        body = transfer(order_code.replace("_", ""), amount, id=next(self._transfers), transactionDate=booked_at)
        copies = self.dice.choice([1, 1, 3])
        replies = await asyncio.gather(*(self.dice.choice(self.banks).deliver(body) for _ in range(copies)))
        assert replies == [(200, {"success": True})] * copies

    async def _call(self, bank: Bank, path: str, body: object, user: str) -> Any:
        status, reply = await bank.call("POST", path, body, user=user)
        assert status in MAY_REFUSE, reply
        if status != 200:
            self.refused[reply["code"]] += 1
        return reply if status == 200 else None


@asynccontextmanager
async def hubs(bank: Bank, database_url: str, clock: SettableClock, home: Path) -> AsyncIterator[list[Bank]]:
    """The hub of the test, and a second one beside it where the database is made for that."""
    async with AsyncExitStack() as stack:
        banks = [bank]
        if database_url.startswith("postgresql"):
            environ = environment(home / "second", database_url, HUB_SANDBOX="0", SEPAY_ACCOUNTS=ACCOUNTS)
            banks.append(Bank(await stack.enter_async_context(running(environ, clock=clock))))
        yield banks


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.timeout(240)
async def test_whatever_the_order_money_and_licences_agree(
    bank: Bank, shop: Shop, clock: SettableClock, database_url: str, tmp_path: Path, seed: int
) -> None:
    async with hubs(bank, database_url, clock, tmp_path) as banks:
        for user in USERS:
            await shop.fund(5 * PRICE, user=user)
            await shop.order({**ITEM, "auto_renew": True}, user=user)
        crowd = Crowd(banks, random.Random(seed))
        for _ in range(ROUNDS):
            await asyncio.gather(*(crowd.step() for _ in range(STEPS_PER_ROUND)))
            await bank.settled()
            # On to where every renewal is due: the sweep runs while the next round buys.
            swept = len(await bank.outcomes("sweep-renewals"))
            clock.set(await last_renewal(bank) + timedelta(minutes=15))
        await has_swept(bank, swept)

    assert "renewed" in await bank.outcomes("renew-license")
    async with bank.running.hub.api.reading() as session:
        assert await broken_wallets(session) == {}
    await every_paid_order_gave_its_licence_once(bank)


async def last_renewal(bank: Bank) -> datetime:
    found = await bank.entities(SymbolAutoRenewSubscription)
    return max(one.next_billing_at for one in found if one.next_billing_at is not None)


async def has_swept(bank: Bank, before: int) -> None:
    async def ran() -> bool:
        return len(await bank.outcomes("sweep-renewals")) > before

    await until(ran)
    await bank.settled()


async def every_paid_order_gave_its_licence_once(bank: Bank) -> None:
    orders = Counter(one.user_id for one in await bank.entities(PaySymbolOrder) if one.status == PAID)
    told = [(row.routing_key, json.loads(row.payload)) for row in await bank.running.queue(SHOP_QUEUE)]
    given = ("license.activated", "license.extended")
    assert Counter(body["user_id"] for type_, body in told if type_ in given) == orders
    assert Counter(body["user_id"] for type_, body in told if type_ == "order.paid") == orders
    licenses = await bank.entities(PayUserSymbolLicense)
    active = Counter(one.user_id for one in licenses if one.status == LICENSE_ACTIVE)
    assert set(active.values()) <= {1}
    assert {one.user_id for one in licenses} == set(orders)
    for user, count in orders.items():
        # Extended after its end, a licence begins again from then: it has the paid days and what lay between.
        spans = [one.end_at - one.start_at for one in licenses if one.user_id == user and one.end_at is not None]
        assert sum(spans, timedelta()) >= timedelta(days=30 * count)
