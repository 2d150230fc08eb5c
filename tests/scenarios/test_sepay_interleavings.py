"""Several users and two operators at once, in any order, on two hubs where the database is made for that.

Users top up, buy, cancel, have licences renewed; webhooks come once, thrice or never, some for accounts that nobody
knows; the statement is polled; operators suspend and activate wallets, refund, withdraw, assign, settle by hand, change
licences. Whatever happens: money neither appears nor vanishes, no wallet goes below zero, nobody has two licences of a
symbol, every paid order has given its licence once, and the books agree with the bank.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Literal

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from handlers.sepay import deciding, shop_desk
from handlers.sepay.bank_desk import poll_once
from handlers.sepay.bank_values import bank_time_text
from handlers.sepay.ledger_rules import broken_wallets
from handlers.sepay.operating import activate, list_unmatched, suspend
from handlers.sepay.reconciling import reconcile
from handlers.sepay.sandbox_bank import SandboxBank, TransactionList
from handlers.sepay.statement_api import Window
from handlers.sepay.tables import PayBankTransaction, PayPaymentIntent
from handlers.sepay.tables_licenses import LICENSE_ACTIVE, PayUserSymbolLicense, SymbolAutoRenewSubscription
from handlers.sepay.tables_orders import PAID, PaySymbolOrder
from hub.errors import RefusedCommand, RetryableError
from tests.scenarios.bank import ACCOUNTS, MAIN_ACCOUNT, SHOP_QUEUE, Bank, transfer
from tests.scenarios.conftest import NOW
from tests.scenarios.shop import ITEM, PRICE, Shop
from tests.support.clock import SettableClock
from tests.support.running import environment, running, until

USERS: Final = ("42", "43", "44")
ROUNDS: Final = 3
STEPS_PER_ROUND: Final = 24
MAY_REFUSE: Final = {200, 400, 409, 429, 503}
"""503 where others hold the wallet for too long: the client comes again, or does not."""
UNKNOWN_ACCOUNT: Final = "7770000001"
TOKEN: Final = "test-list-token"
BY: Final = "ann"
NOTE: Final = "because"


@dataclass
class Crowd:
    """Users and operators who do what the dice say, over one or two hubs of the same database."""

    banks: list[Bank]
    book: SandboxBank
    dice: random.Random
    refused: Counter[str] = field(default_factory=Counter)
    did: Counter[str] = field(default_factory=Counter)
    booked_minor: int = 0
    _transfers: Any = field(default_factory=lambda: iter(range(1, 10**6)))

    async def step(self) -> None:
        """One thing that somebody does, at one of the hubs. What is refused is refused; anything else must not fail."""
        bank, user = self.dice.choice(self.banks), self.dice.choice(USERS)
        users: list[Step] = [self.top_up, self.buy, self.buy, self.settle_an_order, self.pay_some_intent]
        operators: list[Step] = [self.wallet, self.money, self.license, self.review, self.poll]
        does = self.dice.choice([*users, *users, *operators])
        try:
            await does(bank, user)
        except RefusedCommand as error:
            self.refused[error.code] += 1
        except RetryableError as error:
            # Others hold the wallet for too long, or SePay wants to be asked later.
            self.refused[type(error).__name__] += 1
        self.did[does.__name__] += 1

    async def top_up(self, bank: Bank, user: str) -> None:
        amount = self.dice.choice([50_000, PRICE, 3 * PRICE])
        asked = await self._call(bank, "/wallet/topup/", {"amount": amount}, user)
        if asked:
            await self._transfer(asked["order_code"], amount)

    async def buy(self, bank: Bank, user: str) -> None:
        method = self.dice.choice(["wallet", "wallet", "sepay_transfer"])
        item = {**ITEM, "auto_renew": self.dice.random() < 0.5}
        body = {"items": [item], "payment_method": method, "request_id": f"order-{self.dice.randrange(40)}"}
        # The client hears nothing and asks again, at the same time.
        copies = self.dice.choice([1, 1, 2])
        await asyncio.gather(
            *(self._call(self.dice.choice(self.banks), "/symbol/orders/", body, user) for _ in range(copies))
        )

    async def settle_an_order(self, bank: Bank, user: str) -> None:
        _, history = await bank.call("GET", "/symbol/orders/history?status=pending_payment", user=user)
        if history["results"]:
            order_id = self.dice.choice(history["results"])["order_id"]
            word = self.dice.choice(["pay-wallet", "pay-sepay", "topup-sepay", "cancel"])
            await self._call(bank, f"/symbol/order/{order_id}/{word}", None, user)

    async def pay_some_intent(self, bank: Bank, _user: str) -> None:
        intents = await bank.entities(PayPaymentIntent)
        if intents:
            intent = self.dice.choice(intents)
            await self._transfer(intent.order_code, intent.amount_minor + self.dice.choice([0, 0, 0, 1]))

    async def wallet(self, bank: Bank, user: str) -> None:
        change = self.dice.choice([suspend, activate, activate])
        await change(bank.running.hub.api, user, by="ann", reason="because")

    async def money(self, bank: Bank, user: str) -> None:
        api, amount = bank.running.hub.api, self.dice.choice([1_000, PRICE])
        orders = [one for one in await bank.entities(PaySymbolOrder) if one.status == PAID]
        match self.dice.choice(["withdraw", "part", "whole"]):
            case "withdraw":
                await deciding.withdraw(api, deciding.adjustment(user, amount, by=BY, note=NOTE), request_id=None)
            case "part" if orders:
                one = self.dice.choice(orders)
                given = deciding.adjustment(one.user_id, amount, order_id=one.order_id, by=BY, note=NOTE)
                await deciding.refund(api, given, request_id=None)
            case "whole" if orders:
                keep = self.dice.random() < 0.3
                await shop_desk.refund_order(
                    api, self.dice.choice(orders).order_id, keep_licenses=keep, by=BY, note=NOTE
                )

    async def license(self, bank: Bank, _user: str) -> None:
        found = await bank.entities(PayUserSymbolLicense)
        changes: list[Literal["suspend", "restore", "revoke"]] = ["suspend", "restore", "restore", "revoke"]
        change = self.dice.choice(changes)
        await shop_desk.change_license(
            bank.running.hub.api, self.dice.choice(found).license_id, change, by=BY, note=NOTE
        )

    async def review(self, bank: Bank, user: str) -> None:
        api = bank.running.hub.api
        waiting = await list_unmatched(api, 100)
        if not waiting:
            return
        one = self.dice.choice(waiting)
        if one.outcome == "account_mismatch":
            order = deciding.settlement(one.sepay_tx_id, to=MAIN_ACCOUNT, amount=None, booked_at=None, by=BY, note=NOTE)
            await deciding.settle(api, order)
        elif self.dice.random() < 0.5:
            await deciding.assign(api, one.sepay_tx_id, intent=None, user_id=user, by=BY, note=NOTE)
        else:
            await deciding.note_refund(api, one.sepay_tx_id, by=BY, note=NOTE)

    async def poll(self, bank: Bank, _user: str) -> None:
        await poll_once(bank.running.hub.api)

    async def _transfer(self, order_code: str, amount: int) -> None:
        fields: dict[str, Any] = {"transactionDate": bank_time_text(self.banks[0].running.hub.clock.now())}
        is_ours = self.dice.random() < 0.9
        if not is_ours:
            fields |= {"accountNumber": UNKNOWN_ACCOUNT}
        body = transfer(order_code.replace("_", ""), amount, id=next(self._transfers), **fields)
        self.book.book(body)
        copies = self.dice.choice([1, 1, 3, 0])
        replies = await asyncio.gather(*(self.dice.choice(self.banks).deliver(body) for _ in range(copies)))
        assert replies == [(200, {"success": True})] * copies

    async def _call(self, bank: Bank, path: str, body: object, user: str) -> Any:
        status, reply = await bank.call("POST", path, body, user=user)
        assert status in MAY_REFUSE, reply
        if status != 200:
            self.refused[reply["code"]] += 1
        return reply if status == 200 else None


Step = Callable[[Bank, str], Awaitable[None]]


@asynccontextmanager
async def crowd_on(database_url: str, clock: SettableClock, home: Path, dice: random.Random) -> AsyncIterator[Crowd]:
    """A bank with its statement, one hub on SQLite and two on PostgreSQL, and users with money."""
    book = SandboxBank(home / "bank.jsonl")
    app = web.Application()
    app.add_routes(TransactionList(book, TOKEN, requests_per_second_max=100).routes())
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(TestServer(app))
        more = {"SEPAY_ACCOUNTS": ACCOUNTS, "SEPAY_API_TOKEN": TOKEN, "SEPAY_API_BASE": str(server.make_url(""))}
        banks = []
        for number in range(2 if database_url.startswith("postgresql") else 1):
            environ = environment(home / str(number), database_url, **more)
            hub = await stack.enter_async_context(running(environ, clock=clock))
            banks.append(Bank(hub))
        yield Crowd(banks, book, dice)


@pytest.mark.parametrize("seed", [1, *(pytest.param(number, marks=pytest.mark.long) for number in range(2, 12))])
@pytest.mark.timeout(1_800)
async def test_whatever_the_order_money_licences_and_bank_agree(
    clock: SettableClock, database_url: str, tmp_path: Path, seed: int
) -> None:
    async with crowd_on(database_url, clock, tmp_path, random.Random(seed)) as crowd:
        bank = crowd.banks[0]
        await begin(crowd)
        for _ in range(ROUNDS):
            await asyncio.gather(*(crowd.step() for _ in range(STEPS_PER_ROUND)))
            await bank.settled()
            # On to where renewals are due: the sweep runs while the next round buys. What no webhook brought is
            # fetched before, as every quarter of an hour.
            await poll_once(bank.running.hub.api)
            await on_to_the_next_renewal(crowd, clock)
        await every_wallet_is_activated(crowd)
        await poll_once(bank.running.hub.api)
        await bank.settled()

        await bank.assert_no_money_appeared_or_vanished()
        await books_and_bank_agree(bank, clock)
        async with bank.running.hub.api.reading() as session:
            assert await broken_wallets(session) == {}
        await every_paid_order_gave_its_licence_once(bank)
        assert {"top_up", "buy", "money", "review", "wallet", "license", "poll"} <= set(crowd.did)


async def begin(crowd: Crowd) -> None:
    bank = crowd.banks[0]
    shop = Shop(bank)
    for user in USERS:
        _, asked = await bank.call("POST", "/wallet/topup/", {"amount": 5 * PRICE}, user=user)
        body = transfer(asked["transfer_content"], 5 * PRICE, id=10**6 + int(user))
        crowd.book.book(body)
        assert (await bank.deliver(body))[0] == 200
        await bank.settled()
        await shop.order({**ITEM, "auto_renew": True}, user=user)


async def on_to_the_next_renewal(crowd: Crowd, clock: SettableClock) -> None:
    bank = crowd.banks[0]
    found = await bank.entities(SymbolAutoRenewSubscription)
    due = [one.next_billing_at for one in found if one.next_billing_at is not None]
    swept = len(await bank.outcomes("sweep-renewals"))
    clock.set(max([*due, clock.now()]) + timedelta(minutes=15))

    async def ran() -> bool:
        return len(await bank.outcomes("sweep-renewals")) > swept

    await until(ran)


async def every_wallet_is_activated(crowd: Crowd) -> None:
    for user in USERS:
        await activate(crowd.banks[0].running.hub.api, user, by="ann", reason="the end")


async def books_and_bank_agree(bank: Bank, clock: SettableClock) -> None:
    """What the statement has and the books have not is in no account of ours: it waits to be settled by hand."""
    found = await reconcile(bank.running.hub.api, Window(NOW - timedelta(days=1), clock.now()))
    assert (found.differences, found.at_bank_minor) == ([], found.in_books_minor)
    waiting = [row for row in await bank.entities(PayBankTransaction) if row.outcome == "account_mismatch"]
    assert found.foreign == len(waiting)


async def every_paid_order_gave_its_licence_once(bank: Bank) -> None:
    orders = Counter(one.user_id for one in await bank.entities(PaySymbolOrder) if one.paid_at is not None)
    told = [(row.routing_key, json.loads(row.payload)) for row in await bank.running.queue(SHOP_QUEUE)]
    given = ("license.activated", "license.extended")
    assert Counter(body["user_id"] for type_, body in told if type_ in given) == orders
    assert Counter(body["user_id"] for type_, body in told if type_ == "order.paid") == orders
    licenses = await bank.entities(PayUserSymbolLicense)
    active = Counter(one.user_id for one in licenses if one.status == LICENSE_ACTIVE)
    assert set(active.values()) <= {1}
    assert {one.user_id for one in licenses} == set(orders)
