"""A running hub with something of everything to look at, and somebody of each role who may look."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.browser.shop import CLOSED, ROUTING
from tests.support.running import RunningHub, environment, running

KEY = "test-shop-key"
PASSWORD = "correct horse battery staple"
VIEWER_KEY, OPERATOR_KEY = "test-viewer-key", "test-operator-key"
LARGE, SMALL, STUCK = "ORD-LARGE-1", "ORD-SMALL-2", "ORD-STUCK-3"


def stage_environment(home: Path, database_url: str = "", **more: str) -> dict[str, str]:
    """What the stage's hub is started with."""
    (home / "routing.yaml").write_text(ROUTING)
    keys = f"vera:viewer:{VIEWER_KEY},oleg:operator:{OPERATOR_KEY}"
    return environment(
        home,
        database_url,
        HUB_ROUTING=str(home / "routing.yaml"),
        SHOP_WEBHOOK_KEY=KEY,
        HUB_CONSOLE_PASSWORD=PASSWORD,
        HUB_API_KEYS=keys,
        **more,
    )


@asynccontextmanager
async def staged(home: Path, database_url: str = "", **more: str) -> AsyncIterator[RunningHub]:
    """The hub, with its history."""
    CLOSED.clear()
    CLOSED.add("b")
    async with running(stage_environment(home, database_url, **more)) as hub:
        await play(hub)
        yield hub
    CLOSED.clear()


async def play(hub: RunningHub) -> None:
    """Orders that go through, one parked, one without an outcome, a review, a conflict, something unreadable."""
    sent = [
        order("o-1", 120_000, code=LARGE, customer="mia"),
        order("o-2", 4_500, code=SMALL, customer="mia"),
        order("o-3", 800, code=STUCK, customer="nils", shelf="b"),
        order("o-4", 900, code="ORD-BEHIND-4", customer="nils"),
        order("o-5", 1_000, type="order.cashback", code="ORD-CASHBACK-5"),
        order("o-6", 100, type="order.cashback", code="ORD-CASHBACK-6"),
        order("o-7", 70, type="order.refunded", code="ORD-REFUND-7"),
        order("o-8", 70, type="order.shipped", code="ORD-PARCEL-8"),
        order("o-9", 70, type="order.unheard", code="ORD-NOBODY-9"),
        *(order(f"m-{number}", 100 * number + 50, code=f"ORD-MORE-{number}", customer="mia") for number in range(8)),
        {**order("o-2", 4_501, code=SMALL, customer="mia")},
    ]
    for one in sent:
        assert await deliver(hub, one) == 200, one
    await deliver(hub, order("o-1", 120_000, code=LARGE, customer="mia"))
    await deliver(hub, b'{"id": "o-10", "type": "order.paid"')
    await hub.settled(also=frozenset({"waiting", "calling", "retrying"}))


def order(
    id: str, amount: int, *, code: str, type: str = "order.paid", customer: str = "", **more: Any
) -> dict[str, Any]:
    return {"id": id, "type": type, "customer": customer or id, "amount": amount, "code": code, "phone": "0900", **more}


async def deliver(hub: RunningHub, body: dict[str, Any] | bytes) -> int:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    status, _ = await hub.post("/webhooks/shop", data, Authorization=f"Apikey {KEY}")
    return status


class Visitor:
    """A program that behaves as a browser: keeps cookies, sends forms, follows nothing by itself."""

    def __init__(self, hub: RunningHub) -> None:
        self.url = f"{hub.url}/console"
        # The hub listens on an address without a name, for which cookies are otherwise not kept.
        self.http = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))
        self.csrf = ""

    async def get(self, path: str, **headers: str) -> tuple[int, str]:
        async with self.http.get(self.url + path, headers=headers, allow_redirects=False) as response:
            text = await response.text()
            self.csrf = self.csrf if 'name="csrf" value="' not in text else text.split('name="csrf" value="')[1][:64]
            # Long names may break at their points and dashes.
            return response.status, text.replace("<wbr>", "")

    async def post(self, path: str, *, headers: Any = None, **fields: str) -> tuple[int, str]:
        form = {"csrf": self.csrf, **fields}
        async with self.http.post(self.url + path, data=form, headers=headers, allow_redirects=False) as response:
            return response.status, response.headers.get("Location") or await response.text()

    async def sign_in(self, *, key: str = "", name: str = "admin", password: str = PASSWORD) -> int:
        fields = {"key": key} if key else {"name": name, "password": password}
        status, _ = await self.post("/login", **fields)
        if status == 303:
            await self.get("/audit")
        return status

    async def __aenter__(self) -> Visitor:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.close()
