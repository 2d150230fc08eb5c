"""Commands that come by message: carried out once, answered by a message, refused with the code of HTTP."""

from __future__ import annotations

import json
from typing import Any

from handlers.sepay.tables_orders import PaySymbolOrder
from hub.inbox.received import Received
from hub.store import tables as t
from tests.scenarios.shop import ITEM, PRICE, Shop

ANSWERS = "sepay.command.answers"


async def test_an_order_by_message_is_paid_and_answered_once(shop: Shop) -> None:
    await shop.fund(2 * PRICE)
    order = {"request_id": "r-1", "user_id": "42", "items": [ITEM], "payment_method": "wallet"}

    assert await send(shop, "sepay.order.requested", order) == "event"
    assert await send(shop, "sepay.order.requested", order) == "duplicate"

    ((kind, answer),) = await answers(shop)
    assert kind == "sepay.command.answered"
    assert (answer["request_id"], answer["command"], answer["user_id"]) == ("r-1", "sepay.order.requested", "42")
    assert answer["reply"]["status"] == "paid"
    assert await shop.balance() == PRICE


async def test_every_command_of_an_order_can_come_by_message(shop: Shop) -> None:
    orders = [await shop.order({**ITEM, "auto_renew": True}) for _ in range(3)]
    ids = [order["order_id"] for order in orders]
    await send(shop, "sepay.order.pay_sepay", {"request_id": "1", "user_id": "42", "order_id": ids[0]})
    await send(shop, "sepay.order.topup_sepay", {"request_id": "2", "user_id": "42", "order_id": ids[0]})
    await send(shop, "sepay.order.cancel", {"request_id": "3", "user_id": "42", "order_id": ids[1]})
    await send(shop, "sepay.topup.requested", {"request_id": "4", "user_id": "42", "amount": 2 * PRICE})
    found = dict(zip(["pay_sepay", "topup_sepay", "cancel", "topup"], await answers(shop), strict=True))
    assert {kind for kind, _ in found.values()} == {"sepay.command.answered"}
    assert found["pay_sepay"][1]["reply"]["amount"] == PRICE
    assert found["cancel"][1]["reply"]["status"] == "cancelled"

    await shop.pay(found["topup"][1]["reply"]["order_code"], 2 * PRICE)
    await send(shop, "sepay.order.pay_wallet", {"request_id": "5", "user_id": "42", "order_id": ids[0]})
    renewal = (await shop.get("/symbol/subscriptions"))[0]
    for number, word in enumerate(["pause", "resume", "cancel"], start=6):
        command = {"request_id": str(number), "user_id": "42", "subscription_id": renewal["subscription_id"]}
        await send(shop, f"sepay.renewal.{word}", command)

    replies = [answer["reply"] for _, answer in (await answers(shop))[4:]]
    assert replies[0]["amount_charged"] == PRICE
    assert [reply["status"] for reply in replies[1:]] == ["paused", "active", "cancelled"]


async def test_a_refused_command_leaves_nothing_and_says_why(shop: Shop) -> None:
    wrong = {"request_id": "r-1", "user_id": "42", "items": [{**ITEM, "price": 1}], "payment_method": "wallet"}
    await send(shop, "sepay.order.requested", wrong)
    order = await shop.order()
    await send(shop, "sepay.order.pay_wallet", {"request_id": "r-2", "user_id": "42", "order_id": order["order_id"]})
    await send(shop, "sepay.order.pay_wallet", {"request_id": "r-3", "user_id": "43", "order_id": order["order_id"]})
    await send(shop, "sepay.order.pay_wallet", {"request_id": "r-4", "user_id": "42", "order_id": "no id"})

    found = await answers(shop)

    assert {kind for kind, _ in found} == {"sepay.command.refused"}
    codes = [answer["code"] for _, answer in found]
    assert codes == ["price_mismatch", "insufficient_balance", "order_not_found", "invalid_request"]
    assert found[1][1]["extra"] == {"wallet_balance": 0, "total_amount": PRICE, "shortage": PRICE}
    assert len(await shop.bank.entities(PaySymbolOrder)) == 1
    assert {row.state for row in await shop.bank.rows(t.deliveries)} == {"done"}


async def test_a_command_of_nobody_or_without_an_id_is_parked(shop: Shop) -> None:
    assert await send(shop, "sepay.order.requested", {"user_id": "42", "items": [ITEM]}) == "unreadable"
    assert await send(shop, "sepay.order.requested", {"request_id": "r", "items": [ITEM]}) == "unreadable"
    assert await answers(shop) == []


async def send(shop: Shop, type_: str, body: dict[str, Any]) -> str:
    received = Received(source="sepay-commands", body=json.dumps(body).encode(), routing_key=type_)
    accepted = await shop.bank.running.hub.acceptor.accept(received)
    await shop.bank.settled()
    return accepted.kind


async def answers(shop: Shop) -> list[tuple[str, Any]]:
    return [(row.routing_key, json.loads(row.payload)) for row in await shop.bank.running.queue(ANSWERS)]
