"""A shop on a running hub: its catalogue, and what its users do step by step."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from handlers.sepay.bank_values import bank_time_text
from handlers.sepay.tables_orders import PaySymbolOrder
from hub.inbox.received import Received
from schemas.sepay_orders import SymbolUpserted
from tests.scenarios.bank import Bank, transfer
from tests.support.running import until

PRICE: Final = 200_000
LIFETIME_PRICE: Final = 900_000
ITEM: Final[dict[str, Any]] = {"symbol_id": 1, "price": PRICE, "license_days": 30}


class Shop:
    """One running hub whose catalogue sells symbol 1 for 30 days or for ever."""

    def __init__(self, bank: Bank) -> None:
        self.bank = bank
        self._transfers = iter(range(1_000_000, 10**9))

    async def sells(self, price: int, days: int | None, *, symbol_id: int = 1, active: bool = True) -> None:
        """Put an offer into the catalogue, by message."""
        offer = SymbolUpserted(
            symbol_id=symbol_id, name="VN30 Trading Bot", price=price, license_days=days, active=active
        )
        body = offer.model_dump_json().encode()
        received = Received(source="shop-catalogue", body=body, routing_key="symbol.upserted")
        accepted = await self.bank.running.hub.acceptor.accept(received)
        assert accepted.kind == "event"
        await self.bank.settled()

    async def fund(self, amount: int, *, user: str = "42") -> None:
        """Fill the user's wallet, by a top-up and its transfer."""
        status, asked = await self.bank.call("POST", "/wallet/topup/", {"amount": amount}, user=user)
        assert status == 200
        await self.pay(asked["order_code"], amount)

    async def pay(self, order_code: str, amount: int, **fields: object) -> None:
        """Transfer money under this code, and wait until it is settled."""
        booked_at = bank_time_text(self.bank.running.hub.clock.now())
        usual = {"id": next(self._transfers), "transactionDate": booked_at}
        body = transfer(order_code.replace("_", ""), amount, **{**usual, **fields})
        assert await self.bank.deliver(body) == (200, {"success": True})
        await self.bank.settled()

    async def order(self, *items: dict[str, Any], method: str = "wallet", user: str = "42", **more: object) -> Any:
        """Order these items, by default one licence of 30 days; answers with the body of the 200."""
        body = {"items": [*(items or (ITEM,))], "payment_method": method, **more}
        status, reply = await self.bank.call("POST", "/symbol/orders/", body, user=user)
        assert status == 200, reply
        return reply

    async def act(self, order_id: str, word: str, *, user: str = "42") -> tuple[int, Any]:
        """pay-wallet, pay-sepay, topup-sepay or cancel."""
        return await self.bank.call("POST", f"/symbol/order/{order_id}/{word}", user=user)

    async def get(self, path: str, *, user: str = "42") -> Any:
        """The body of a 200."""
        status, reply = await self.bank.call("GET", path, user=user)
        assert status == 200, reply
        return reply

    async def balance(self, *, user: str = "42") -> int:
        """What the user's wallet shows."""
        found: int = (await self.get("/wallet/", user=user))["balance"]
        return found

    async def order_status(self, order_id: str) -> str:
        """The status of an order, as stored."""
        (found,) = [one for one in await self.bank.entities(PaySymbolOrder) if one.order_id == UUID(order_id)]
        return found.status

    async def job_ran(self, route: str, outcome: str, *, times: int = 1) -> None:
        """Wait until a scheduled job has ended this way so often."""

        async def ran() -> bool:
            return (await self.bank.outcomes(route)).count(outcome) >= times

        await until(ran)
        await self.bank.settled()
