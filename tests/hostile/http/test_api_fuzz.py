"""The HTTP APIs, fuzzed from their own description: no 5xx, and no answer that it does not describe.

With ``HUB_TEST_FUZZ_EXAMPLES=10000`` so many examples are spread over all (tests/hostile/README.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import pytest

from handlers.paypal import http as paypal_http
from tests.hostile.http.fuzz import IS_LONG, Fuzz, needs_key
from tests.scenarios.shop import ITEM, PRICE, Shop
from tests.support.clock import SettableClock
from tests.support.processes import free_port
from tests.support.running import API_KEY, RunningHub, environment
from tests.support.running import running as running_hub

SHOP: Final = ("/api/seapay", "/api/sepay")
PAGES: Final = "/admin2/"
OWNER: Final = "42"
"""The user whose ids are known."""
SHARES: Final = {"shop": 0.4, "providers": 0.3, "sandboxes": 0.3}
LONG_S_MAX: Final = 7_200

pytestmark = [
    *([pytest.mark.timeout(LONG_S_MAX)] if IS_LONG else []),
    # The hub runs in another thread of this process, and may use it while an example is drawn.
    pytest.mark.filterwarnings("ignore:Do not use the `random` module"),
]


async def test_the_shops_api_keeps_to_its_own_description(shop: Shop) -> None:
    running = shop.bank.running
    await shop.fund(10 * PRICE)
    waiting = await shop.order(method="sepay_transfer")
    await shop.order({**ITEM, "auto_renew": True})
    (subscription,) = await shop.get("/symbol/subscriptions")
    known = {
        "order_id": waiting["order_id"],
        "intent_id": waiting["payment_intent_id"],
        "subscription_id": subscription["subscription_id"],
        "symbol_id": 1,
    }

    called = await fuzzed("shop", running, lambda path: path.startswith(SHOP), known)

    assert called >= 20
    await shop.bank.settled()


async def test_the_providers_api_keeps_to_its_own_description(
    database_url: str, tmp_path: Path, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No provider answers here: what waits for one is told at once to ask again.
    monkeypatch.setattr(paypal_http, "WAIT_S_MAX", 0.0)
    async with running_hub(environment(tmp_path, database_url, HUB_SANDBOX="0"), clock=clock) as running:
        called = await fuzzed("providers", running, is_of_a_provider)

    assert called >= 25


@pytest.mark.skipif(not IS_LONG, reason="with its sandboxes each call takes longer; HUB_TEST_FUZZ_EXAMPLES runs it")
async def test_the_providers_api_keeps_to_its_own_description_where_providers_answer(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paypal_http, "WAIT_S_MAX", 1.0)
    # The sandboxes are called at the hub's own address, which it must know before it listens.
    async with running_hub(environment(tmp_path, database_url, HUB_PORT=str(free_port()))) as running:
        plans, known = await with_providers(running)
        called = await fuzzed("sandboxes", running, is_of_a_provider, known, plans)

    assert called >= 25


def is_of_a_provider(path: str) -> bool:
    """Whether it is an operation of a provider, or the hub's own."""
    # A page for people is no part of the interface, though it has its place in the description.
    return not path.startswith((*SHOP, PAGES, "/sandbox"))


async def with_providers(running: RunningHub) -> tuple[list[str], dict[str, object]]:
    """The plans of PayPal's sandbox, and the ids of what was asked of the sandboxes."""

    async def ask(method: str, path: str, body: object = None) -> Any:
        headers = {"Authorization": f"Bearer {API_KEY}"}
        async with running.http.request(method, running.url + path, json=body, headers=headers) as response:
            answer = await response.json()
            assert response.status < 300, answer
        return answer

    plans = [plan["id"] for plan in (await ask("GET", "/api/paypal/plans"))["plans"]]
    buyer = {"custom_id": OWNER, "give_name": "Mia", "surname": "Mori", "email_address": "mia@shop.example"}
    subscription = await ask("POST", "/api/paypal/subscriptions", {"plan_id": plans[0], **buyer})
    order = {"amount_jpy": 1_200, "order_description": "Moon cake", "idempotency_key": "order-1"}
    payment = await ask("POST", "/api/v1/paypay/codes", order)
    return plans, {"subscription_id": subscription["subscription_id"], "id": payment["payment_id"]}


async def fuzzed(
    name: str,
    running: RunningHub,
    wanted: Callable[[str], bool],
    known: dict[str, object] | None = None,
    plans: Sequence[str] = (),
) -> int:
    """Call the operations below the wanted paths, in another thread; says how many there are."""
    async with running.http.get(f"{running.url}/api/openapi.json") as response:
        document: dict[str, Any] = await response.json()
    # The description leaves the names to routing.yaml, and the plans to PayPal.
    posted = document["components"]["schemas"]["PostedEvent"]["properties"]
    posted["source"]["enum"] = sorted(running.hub.table.posted)
    if plans:
        document["components"]["schemas"]["SubscriptionBody"]["properties"]["plan_id"]["enum"] = list(plans)
    fuzz = Fuzz(name, running.url, bearer_of(running), known or {})
    return await asyncio.to_thread(fuzz.run, document, wanted, SHARES[name])


def bearer_of(running: RunningHub) -> Callable[[Any, int], str]:
    """Each operation has users of its own, so that none spends another one's requests."""

    def bearer(operation: Any, number: int) -> str:
        if needs_key(operation):
            return API_KEY
        return running.token(OWNER if number < 0 else f"fuzz-{crc32(operation.label.encode())}-{number}")

    return bearer
