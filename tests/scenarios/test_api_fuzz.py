"""The business API, fuzzed from its own description: no 5xx, and no answer that it does not describe."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from handlers.paypal import http as paypal_http
from tests.scenarios.shop import ITEM, PRICE, Shop
from tests.support.clock import SettableClock
from tests.support.running import API_KEY, RunningHub, environment
from tests.support.running import running as running_hub

EXAMPLES_MAX: Final = 5
"""How often each operation is called in each mode."""
SHOP: Final = ("/api/seapay", "/api/sepay")
PAGES: Final = "/admin2/"
AWAY: Final = (502, 503)
"""What may be said of a provider that does not answer; status_code_conformance wants it described."""


def no_server_error(context: Any, response: Any, case: Any) -> bool | None:
    """No 5xx but that a provider, which a program's key lets one ask, does not answer."""
    if response.status_code in AWAY and needs_key(case.operation):
        return None
    return not_a_server_error(context, response, case)


CHECKS: Final = [no_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
MODES: Final = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)


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

    # Each operation has a user of its own, so that none spends another one's requests; the known ids are of user 42.
    called = await fuzzed(running, lambda path: path.startswith(SHOP), known)

    assert called >= 20
    await shop.bank.settled()


async def test_the_providers_api_keeps_to_its_own_description(
    database_url: str, tmp_path: Path, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No provider answers here: what waits for one is told at once to ask again.
    monkeypatch.setattr(paypal_http, "WAIT_S_MAX", 0.0)
    async with running_hub(environment(tmp_path, database_url, HUB_SANDBOX="0"), clock=clock) as running:
        # A page for people is no part of the interface, though it has its place in the description.
        called = await fuzzed(running, lambda path: not path.startswith((*SHOP, PAGES)), {})

    assert called >= 25


async def fuzzed(running: RunningHub, wanted: Callable[[str], bool], known: dict[str, object]) -> int:
    """Call the operations below the wanted paths, in another thread; says how many there are."""
    async with running.http.get(f"{running.url}/api/openapi.json") as response:
        document = await response.json()
    return await asyncio.to_thread(fuzz, document, wanted, running.url, running.token, known)


def fuzz(
    document: dict[str, Any],
    wanted: Callable[[str], bool],
    url: str,
    token: Callable[[str], str],
    known: dict[str, object],
) -> int:
    """Call the operations in every mode, with made-up ids and with known ones; says how many there are."""
    every: list[Any] = [
        found.ok() for found in schemathesis.openapi.from_dict(document).get_all_operations() if isinstance(found, Ok)
    ]
    operations = [one for one in every if wanted(one.path)]
    for number, operation in enumerate(operations):
        names = {one["name"] for one in operation.definition.raw.get("parameters", ()) if one["in"] == "path"}
        for mode in MODES:
            call(operation, mode, url, bearer(operation, token(f"fuzz-{number}")), None)
        if names and names <= known.keys():
            path = {name: known[name] for name in names}
            call(operation, GenerationMode.POSITIVE, url, bearer(operation, token("42")), path)
    return len(operations)


def bearer(operation: Any, token: str) -> str:
    """Whom the operation lets in: a user's token, or a program's key."""
    return API_KEY if needs_key(operation) else token


def needs_key(operation: Any) -> bool:
    return {"apiKey": []} in operation.definition.raw["security"]


def call(operation: Any, mode: GenerationMode, url: str, token: str, path: dict[str, object] | None) -> None:
    @given(case=operation.as_strategy(generation_mode=mode, path_parameters=path))
    @settings(
        max_examples=EXAMPLES_MAX if path is None else 3,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
        derandomize=True,
    )
    def each(case: Any) -> None:
        case.call_and_validate(base_url=url, headers={"Authorization": f"Bearer {token}"}, checks=CHECKS)

    each()
