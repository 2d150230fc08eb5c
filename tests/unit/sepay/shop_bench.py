"""The steps of a purchase, on a desk: stock the catalogue, fill a wallet, order, look at what is owned."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from handlers.sepay.catalogue import upsert_symbol
from handlers.sepay.ordering import cancel_order, request_order
from handlers.sepay.paying import pay_from_wallet
from handlers.sepay.renewals import renew_license, sweep_renewals
from handlers.sepay.tables import PayPaymentIntent
from handlers.sepay.tables_licenses import PayUserSymbolLicense, SymbolAutoRenewSubscription
from handlers.sepay.tables_orders import PaySymbolOrder
from schemas.sepay_orders import OrderReply
from tests.unit.sepay.bench import USER, ask_for_topup, settle
from tests.unit.sepay.desk import Caused, Desk

PRICE: Final = 200_000
ITEM: Final[dict[str, Any]] = {"symbol_id": 1, "price": PRICE, "license_days": 30}
RENEWING: Final = {**ITEM, "auto_renew": True}


async def stock(desk: Desk, *, active: bool = True, days: int | None = 30, price: int = PRICE) -> None:
    offer = {"symbol_id": 1, "name": "VN30", "price": price, "license_days": days, "active": active}
    await desk.run(upsert_symbol, offer)


async def fund(desk: Desk, amount: int, *, id: int) -> None:
    asked = await ask_for_topup(desk, amount)
    assert (await settle(desk, asked.transfer_content, amount, id=id)).outcome == "credited"


async def order(desk: Desk, item: dict[str, Any] = ITEM, *, method: str = "wallet", **more: object) -> OrderReply:
    caused = await desk.run(request_order, {"user_id": USER, "items": [item], "payment_method": method, **more})
    assert isinstance(caused.result, OrderReply)
    return caused.result


async def pay(desk: Desk, order_id: UUID) -> Caused:
    return await desk.run(pay_from_wallet, {"user_id": USER, "order_id": order_id})


async def cancel(desk: Desk, order_id: UUID) -> Caused:
    return await desk.run(cancel_order, {"user_id": USER, "order_id": order_id})


async def intent_for(desk: Desk, order_id: UUID) -> PayPaymentIntent:
    """The latest intent of an order, or the top-up that is to pay it."""
    intents = await desk.rows(PayPaymentIntent)
    of_order = [one for one in intents if order_id == one.order_id or one.details.get("order_id") == str(order_id)]
    return max(of_order, key=lambda one: one.created_at)


async def transfer_for(desk: Desk, order_id: UUID, *, id: int) -> Caused:
    """Transfer what the order's latest intent asks for."""
    intent = await intent_for(desk, order_id)
    return await settle(desk, intent.order_code_norm, intent.amount_minor, id=id)


async def sweep(desk: Desk) -> list[Caused]:
    """Look for renewals that are due, and run each."""
    caused = await desk.run(sweep_renewals, {})
    return [await desk.run(renew_license, payload) for _, payload in caused.emitted]


async def subscriptions(desk: Desk) -> list[SymbolAutoRenewSubscription]:
    found = await desk.rows(SymbolAutoRenewSubscription)
    return sorted(found, key=lambda one: one.created_at)


async def only_license(desk: Desk) -> PayUserSymbolLicense:
    (found,) = await desk.rows(PayUserSymbolLicense)
    return found


async def order_of(desk: Desk, order_id: UUID) -> PaySymbolOrder:
    (found,) = [one for one in await desk.rows(PaySymbolOrder) if one.order_id == order_id]
    return found
