"""The business API, fuzzed from its own description: no 5xx, and no answer that it does not describe."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

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

from tests.scenarios.shop import ITEM, PRICE, Shop

EXAMPLES_MAX: Final = 10
"""How often each operation is called in each mode."""
OPERATIONS_MIN: Final = 20
OWN: Final = ("/api/seapay", "/api/sepay")
CHECKS: Final = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
MODES: Final = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)


async def test_the_api_keeps_to_its_own_description(shop: Shop) -> None:
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
    async with running.http.get(f"{running.url}/api/openapi.json") as response:
        document = await response.json()

    # Each operation has a user of its own, so that none spends another one's requests; the known ids are of user 42.
    called = await asyncio.to_thread(fuzz, document, running.url, running.token, known)

    assert called >= OPERATIONS_MIN
    await shop.bank.settled()


def fuzz(document: dict[str, Any], url: str, token: Callable[[str], str], known: dict[str, object]) -> int:
    """Call every operation in every mode, with made-up ids and with known ones; says how many there are."""
    every: list[Any] = [
        found.ok() for found in schemathesis.openapi.from_dict(document).get_all_operations() if isinstance(found, Ok)
    ]
    operations = [one for one in every if one.path.startswith(OWN)]
    for number, operation in enumerate(operations):
        names = {one["name"] for one in operation.definition.raw.get("parameters", ()) if one["in"] == "path"}
        for mode in MODES:
            call(operation, mode, url, token(f"fuzz-{number}"), None)
        if names:
            call(operation, GenerationMode.POSITIVE, url, token("42"), {name: known[name] for name in names})
    return len(operations)


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
