"""A shop that sells by SePay while it is crashed: an order, a short wallet, a transfer, a licence and its renewal."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import jwt

from handlers.sepay.bank_values import bank_time_text
from tests.faults.books import Books, reading
from tests.faults.flows.ending import Ending, judge_ending
from tests.faults.flows.flying import CLOCK, SCHEDULES, TrialClock
from tests.faults.line import Line
from tests.faults.scenarios import JWT_SECRET, Quiet, Scenario, World
from tests.support.running import API_KEY, WEBHOOK_KEY

USER: Final = "42"
PRICE: Final = 200_000
FUNDED: Final = 500_000
MONTH_S: Final = 30 * 86_400
ORDER: Final = {
    "request_id": "order-1", "user_id": USER, "payment_method": "wallet",
    "items": [{"symbol_id": 1, "price": PRICE, "license_days": 30, "auto_renew": True}],
}  # fmt: skip
BEARER: Final = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"}
RENEWED: Final = "SELECT 1 WHERE (SELECT count(*) FROM symbol_autorenew_attempts) = 0"
SOLD: Final = Ending(
    messages={
        "shop.platform": {
            "order.paid": 2, "license.activated": 1, "license.extended": 1, "renewal.succeeded": 1,
        },
        "wallet.platform": {"wallet.credited": 1},
    },
    entries={"sepay:transfer:%": 1},
    balances={"sepay:wallet:%": FUNDED - 2 * PRICE, "sepay:bank:%": FUNDED, "sepay:sales": 2 * PRICE},
    rows={
        "SELECT status FROM pay_symbol_orders": [("paid",), ("paid",)],
        "SELECT status FROM symbol_autorenew_attempts": [("success",)],
        "SELECT count(*) FROM pay_user_symbol_licenses": [(1,)],
    },
)  # fmt: skip


@asynccontextmanager
async def shop_beside(environ: Mapping[str, str]) -> AsyncIterator[World]:
    """A user and his bank."""
    file = Path(environ["HUB_HOME"]) / "trial_clock"
    clock = TrialClock.begun(file)
    async with reading(environ["HUB_DATABASE_URL"]) as books:

        async def play(line: Line, quiet: Quiet) -> None:
            token = jwt.encode({"sub": USER, "iat": 0, "exp": 2**33}, JWT_SECRET, algorithm="HS256")
            bearer = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
            await _tell(line, "shop-catalogue", "symbol.upserted", "offer-1", {
                "symbol_id": 1, "name": "VN30 Trading Bot", "price": PRICE, "license_days": 30, "active": True,
            })  # fmt: skip
            await quiet()
            asked = (
                await line.ask("/api/seapay/wallet/topup/", json.dumps({"amount": FUNDED}).encode(), bearer)
            ).json()
            await _pay(line, asked, clock)
            await quiet()
            await _tell(line, "sepay-commands", "sepay.order.requested", "order-1", ORDER)
            await quiet()
            # A licence is renewed half a day before it ends.
            clock.leap(MONTH_S - 12 * 3_600)
            await clock.fly(books, RENEWED)

        async def ends(_books: Books) -> list[str]:
            return await judge_ending(books, SOLD)

        yield World({CLOCK: str(file), SCHEDULES: "sweep-sepay-renewals"}, play, tuple, ends=ends)


async def _tell(line: Line, source: str, type_: str, id_: str, body: Mapping[str, Any]) -> None:
    said = json.dumps(body).encode()
    named = {"ce-specversion": "1.0", "ce-id": id_, "ce-source": source, "ce-type": type_}
    await line.deliver(source, "/events", said, {**BEARER, **named}, [said])


async def _pay(line: Line, told: Mapping[str, str], clock: TrialClock) -> None:
    fields = {
        "gateway": "BIDV", "transactionDate": bank_time_text(clock.now()), "accountNumber": told["account_number"],
        "subAccount": None, "code": None, "content": f"MBVCB.1.{told['order_code']}.CT tu NGUYEN VAN A",
        "transferType": "in", "description": "", "transferAmount": FUNDED, "referenceCode": "FT1", "accumulated": 0,
        "id": 95_001,
    }  # fmt: skip
    body = json.dumps(fields).encode()
    headers = {"Authorization": f"Apikey {WEBHOOK_KEY}", "Content-Type": "application/json"}
    await line.deliver("sepay", "/api/seapay/webhook/", body, headers, [body])


RENEWAL: Final = Scenario(name="renewal", expected=None, world=shop_beside)
