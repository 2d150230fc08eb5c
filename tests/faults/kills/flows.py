"""The providers' flows while everything breaks: exchanges and payments, top-ups and orders, subscriptions and sales."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from handlers.paypal import sandbox_deeds as paypal_deeds
from handlers.sepay.bank_values import bank_time_text
from tests.faults.kills.providers import Providers
from tests.faults.kills.senders import Lines, Pace
from tests.faults.publishing import Publisher
from tests.simulation.world import ADMIN, BATCH, WEBHOOK, Told, bearer, cloud_batch

MEMBERS: Final = 8
USERS: Final = 24
PURSE: Final = 10**8
POCKET_JPY: Final = 10**8
PRICE: Final = 50_000
SYMBOL: Final = 1
WORKERS: Final = {"exchange": 3, "payment": 3, "topup": 4, "subscription": 3}
LOOK_S: Final = 0.25
PATIENCE_S: Final = 120.0
"""How long a buyer waits to see that something is done, before the next one comes all the same."""
AGAIN_S: Final = 0.1
PAYPAY_API: Final = "/api/v1/paypay"
LOST_SHARE: Final = 0.1
"""Of the bank's webhooks, how many are never sent: the statement tells of these."""
ORDERED_SHARE: Final = 0.7
SALES_MAX: Final = 3
GIVEN_BACK_SHARE: Final = 0.3


@dataclass
class Flows:
    """All of them, and what they have come to."""

    lines: Lines
    broker: str
    pace: Pace
    told: Told
    chance: Random
    providers: Providers
    sessions: dict[str, str] = field(default_factory=dict)
    paid: dict[str, int] = field(default_factory=dict)
    """User → dong that the bank has booked for top-ups of theirs."""
    orders: dict[str, str] = field(default_factory=dict)
    """An order's own name → who ordered; what was answered, or published and confirmed."""
    wishes: set[str] = field(default_factory=set)
    payments: set[str] = field(default_factory=set)
    _transfers: int = 70_000

    async def prepare(self) -> None:
        """Before anything breaks: members have points and linked accounts, and the shop sells something."""
        offer = {"symbol_id": SYMBOL, "name": "VN30 Trading Bot", "price": PRICE, "license_days": 30, "active": True}
        await self._tell("shop-catalogue", "symbol.upserted", "offer-1", offer)
        for number in range(MEMBERS):
            await self._joins(f"s{number}")

    async def run(self) -> None:
        """All pieces of all flows."""
        pieces: Mapping[str, Callable[[int], Awaitable[None]]] = {
            "exchange": self._exchange,
            "payment": self._payment,
            "topup": self._topup,
            "subscription": self._subscription,
        }
        async with asyncio.TaskGroup() as group:
            for flow, piece in pieces.items():
                for _ in range(WORKERS[flow]):
                    group.create_task(self._work(flow, piece), name=flow)

    async def _work(self, flow: str, piece: Callable[[int], Awaitable[None]]) -> None:
        while (number := await self.pace.piece(flow)) is not None:
            await piece(number)

    async def _tell(self, source: str, type_: str, id_: str, body: Mapping[str, Any]) -> None:
        data = json.dumps(body).encode()
        await self.lines.deliver(source, "/events", cloud_batch(source, [(type_, id_, data)]), BATCH, [data])

    async def _command(self, path: str, body: Mapping[str, Any], headers: Mapping[str, str] = ADMIN) -> Any:
        """The answer to a command; None where it was refused."""
        answer = await self.lines.ask(path, json.dumps(body).encode(), headers)
        return answer.json() if answer.status < 300 else None

    async def _seen(self, path: str, headers: Mapping[str, str], is_done: Callable[[Any], bool]) -> bool:
        """Look until it is so, or patience is at its end."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    answer = await self.lines.look(path, headers)
                    if answer.status == 200 and is_done(answer.json()):
                        return True
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            return False

    # --- PayPay ------------------------------------------------------------------------------------------------------

    async def _joins(self, member: str) -> None:
        booked = {"booking_id": f"b-{member}", "member_id": member, "booked_at": self.providers.now.isoformat()}
        granted = {"grant_id": f"g-{member}", "member_id": member, "points": PURSE, "source": "purchase"}
        self.told.grants[f"g-{member}"] = PURSE
        for type_, body in (("member.booking.made", booked), ("member.points.granted", granted)):
            await self._tell("shop-members", type_, f"{type_}-{member}", body)
        asked = {
            "member_id": member, "device_type": "SP", "redirect_url": "https://shop.example/menu",
            "scopes": ["cashback", "direct_debit"],
        }  # fmt: skip
        made = await self._command(f"{PAYPAY_API}/sessions", asked)
        token = await self.providers.agreed(made["link_url"].rsplit("/", 1)[1], POCKET_JPY)
        await self._command(f"{PAYPAY_API}/sessions/update_session", {"member_id": member, "responseToken": token})
        self.sessions[member] = made["session_id"]

    async def _exchange(self, number: int) -> None:
        member, points, key = f"s{self.chance.randrange(MEMBERS)}", 100 * (1 + number % 5), f"k-{number}"
        body = {
            "member_id": member, "session_id": self.sessions[member], "points": points, "idempotency_key": key,
        }  # fmt: skip
        self.told.exchanges[f"{member} {key}"] = (member, "PC", points)
        made = await self._command(f"{PAYPAY_API}/cashback", body)
        path = f"{PAYPAY_API}/cashback/{made['request_id']}" if made else ""
        if not path or self.chance.random() >= GIVEN_BACK_SHARE:
            return
        if await self._seen(path, ADMIN, lambda shown: shown["status"] == "SUCCESS"):
            order = {"reason": "granted twice", "operator": "ann", "idempotency_key": f"r-{number}"}
            await self._command(f"{path}/reverse", order)

    async def _payment(self, number: int) -> None:
        member = f"s{self.chance.randrange(MEMBERS)}"
        body = {
            "member_id": member, "session_id": self.sessions[member], "amount_jpy": 1_000 + number,
            "order_description": "a", "idempotency_key": f"order-{number}",
        }  # fmt: skip
        made = await self._command(f"{PAYPAY_API}/payments", body)
        if not made:
            return
        self.payments.add(f"order-{number}")
        path = f"{PAYPAY_API}/payments/{made['payment_id']}"
        if self.chance.random() >= GIVEN_BACK_SHARE:
            return
        if await self._seen(path, ADMIN, lambda shown: shown["status"] == "COMPLETED"):
            refund = {"reason": "returned", "idempotency_key": f"refund-{number}", "amount_jpy": 500}
            await self._command(f"{path}/refund", refund)

    # --- SePay -------------------------------------------------------------------------------------------------------

    async def _topup(self, number: int) -> None:
        user = f"u{self.chance.randrange(USERS)}"
        amount = PRICE * self.chance.randint(1, 4)
        made = await self._command("/api/seapay/wallet/topup/", {"amount": amount}, bearer(user))
        self._transfers += 1
        await self._transfer(self._transfers, amount, f"MBVCB.1.{made['order_code']}.CT", made["account_number"])
        self.paid[user] = self.paid.get(user, 0) + amount
        if self.chance.random() < ORDERED_SHARE:
            await self._order(user, f"o-{number}")

    async def _order(self, user: str, name: str) -> None:
        """By HTTP or by message; one that the wallet cannot pay yet waits for ever."""
        body: dict[str, Any] = {
            "items": [{"symbol_id": SYMBOL, "price": PRICE, "license_days": 30}], "payment_method": "wallet",
        }  # fmt: skip
        self.orders[name] = user
        if self.chance.random() < 0.5:
            headers = {**bearer(user), "Idempotency-Key": name}
            await self._command("/api/seapay/symbol/orders/", body, headers)
            return
        publisher = Publisher(self.broker)
        data = json.dumps({**body, "request_id": name, "user_id": user}).encode()
        self.told.sent["sepay-commands"] += 1
        while not await publisher.publish("sepay.commands", "sepay.order.requested", name, data):  # noqa: ASYNC110
            await asyncio.sleep(AGAIN_S)
        self.told.accepted.append(("sepay-commands", data))
        await publisher.close()

    async def _transfer(self, id_: int, amount: int, content: str, account: str) -> None:
        fields = {
            "gateway": "BIDV", "transactionDate": bank_time_text(self.providers.now), "accountNumber": account,
            "subAccount": None, "code": None, "content": content, "transferType": "in", "description": "",
            "transferAmount": amount, "referenceCode": f"FT{id_}", "accumulated": 0, "id": id_,
        }  # fmt: skip
        self.providers.bank.book(fields)
        self.told.transfers[id_] = amount
        if self.chance.random() >= LOST_SHARE:
            data = json.dumps(fields, indent=1).encode()
            await self.lines.deliver("sepay", "/webhooks/sepay", data, WEBHOOK, [data])

    # --- PayPal ------------------------------------------------------------------------------------------------------

    async def _subscription(self, number: int) -> None:
        buyer = f"buyer-{number}"
        wish = {
            "request_id": f"wish-{number}", "plan_id": "P-SANDBOX00000000000000001", "custom_id": buyer,
            "give_name": "Ann", "surname": "Example", "email_address": "ann@example.com",
        }  # fmt: skip
        self.wishes.add(buyer)
        await self._tell("paypal-commands", "paypal.subscription.requested", f"wish-{number}", wish)
        subscription = await self._subscribed(buyer)
        keeper, mail = self.providers.paypal.keeper, self.providers.paypal.send
        with keeper.opened() as book:
            told = [paypal_deeds.change_status(book, subscription, "ACTIVE", self.providers.now)]
            sales = self.chance.randint(1, SALES_MAX)
            told += [paypal_deeds.pay(book, subscription, self.providers.now) for _ in range(sales)]
            sale = told[-1]["resource"]["id"]
            if self.chance.random() < GIVEN_BACK_SHARE:
                # PayPal tells of a sale twice at times, under two ids.
                told.append(paypal_deeds.tell_sale(book, book.sales[sale], self.providers.now))
        for event in told:
            mail(event)
            await asyncio.sleep(self.chance.uniform(0.0, 0.3))
        if self.chance.random() < GIVEN_BACK_SHARE:
            with keeper.opened() as book:
                event = paypal_deeds.refund(book, sale, self.providers.now)
            mail(event)

    async def _subscribed(self, buyer: str) -> str:
        """The subscription that came of a wish. It does come: the wish was accepted."""
        while True:
            with self.providers.paypal.keeper.opened() as book:
                for id_, row in book.subscriptions.items():
                    if row.get("custom_id") == buyer:
                        return id_
            await asyncio.sleep(LOOK_S)
