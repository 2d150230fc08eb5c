"""Every published request, sent to a running hub as printed; every published answer, compared with what comes back.

Ids, times and order codes are compared by their shape; everything else by value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import jwt
import pytest

from tests.scenarios.bank import Bank
from tests.scenarios.shop import ITEM, PRICE, Shop
from tests.support.running import JWT_SECRET

FILE = Path(__file__).parents[1] / "data/sepay/api_examples.json"
EXAMPLES: Final[dict[str, dict[str, Any]]] = {one["id"]: one for one in json.loads(FILE.read_bytes())["examples"]}
BASE: Final = "/api/seapay"
USER: Final = "1"
TOKEN_CLAIMS: Final = {
    "email": "user@example.com",
    "first_name": "John",
    "last_name": "Doe",
    "is_active": True,
    "date_joined": "2024-01-01T00:00:00Z",
}

OTHERS: Final = {"login", "webhook", "callback"}
"""Login is another service's; the webhook's reply and the callback have tests of their own."""
NOT_A_RULE: Final[Mapping[str, frozenset[str]]] = {
    # The request is of another test than the answer, and nobody documents where the link leads.
    "create_order_sepay": frozenset({"total_amount", "price", "qr_code_url", "deep_link"}),
    # A sample that shows one row of ten.
    "order_history": frozenset({"total"}),
    "payments_user": frozenset({"total"}),
    # Here the printed link has no template, elsewhere it has.
    "pay_sepay_v2": frozenset({"qr_code_url"}),
    "topup_sepay_v2": frozenset({"qr_code_url"}),
}
SHAPES: Final = (
    (re.compile(r"[0-9a-z]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "<id>"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"), "<time>"),
    (re.compile(r"PAY_?[0-9A-F]{8}_?\d{10}|TOPUP\d{10}[0-9A-F]{8}"), "<code>"),
)

Given = Callable[[Shop], Awaitable[dict[str, str]]]


async def nothing(_shop: Shop) -> dict[str, str]:
    return {}


def funded(amount: int) -> Given:
    async def given(shop: Shop) -> dict[str, str]:
        await shop.fund(amount, user=USER)
        return {}

    return given


async def paid_intent(shop: Shop) -> dict[str, str]:
    _, intent = await shop.bank.call("POST", "/create-intent", EXAMPLES["create_intent"]["request_body"], user=USER)
    await shop.pay(intent["order_code"], 100_000, referenceCode="FT24315123456")
    return {"intent_id": intent["intent_id"]}


async def asked_topup(shop: Shop) -> dict[str, str]:
    _, asked = await shop.bank.call("POST", "/wallet/topup/", {"amount": 100_000}, user=USER)
    return {"intent_id": asked["intent_id"], "code": asked["order_code"]}


async def paid_topup(shop: Shop) -> dict[str, str]:
    await shop.fund(400_000, user=USER)
    asked = await asked_topup(shop)
    await shop.pay(asked["code"], 100_000, id=123456789)
    return asked


async def cheaper(shop: Shop) -> dict[str, str]:
    await shop.sells(50_000, 30)
    return await funded(50_000)(shop)


async def short_order(shop: Shop) -> dict[str, str]:
    await shop.fund(50_000, user=USER)
    return {"order_id": (await shop.order(user=USER))["order_id"]}


async def order_with_money(shop: Shop) -> dict[str, str]:
    order = await shop.order(user=USER)
    await shop.fund(500_000, user=USER)
    return {"order_id": order["order_id"]}


async def bought(shop: Shop) -> dict[str, str]:
    await shop.fund(PRICE, user=USER)
    await shop.order({**ITEM, "metadata": {}}, user=USER, description="Mua bot trading VN30")
    return {"symbol_id": "1"}


GIVEN: Final[Mapping[str, Given]] = {
    "create_intent": nothing,
    "create_intent_test10": nothing,
    "get_intent": paid_intent,
    "get_wallet": funded(500_000),
    "get_wallet_test3": funded(100_000),
    "create_topup": nothing,
    "topup_status_succeeded": paid_topup,
    "topup_status_pending": asked_topup,
    "create_order_wallet_paid": funded(500_000),
    "create_order_wallet_insufficient": funded(50_000),
    "create_order_wallet_insufficient_v2": funded(50_000),
    "create_order_wallet_test4": cheaper,
    "create_order_sepay": cheaper,
    "order_history": bought,
    "pay_wallet": order_with_money,
    "pay_sepay": short_order,
    "pay_sepay_v2": short_order,
    "topup_sepay": short_order,
    "topup_sepay_v2": short_order,
    "symbol_access": bought,
    "licenses": bought,
    "payments_user": paid_intent,
}


def test_every_published_example_is_sent_or_named() -> None:
    assert set(EXAMPLES) == {*GIVEN, *OTHERS}


@pytest.mark.parametrize("name", GIVEN)
async def test_a_published_example_is_answered_as_published(shop: Shop, name: str) -> None:
    example = EXAMPLES[name]
    values = await GIVEN[name](shop)
    path = example["path"].removeprefix(BASE).format(**values)
    query = "&".join(f"{key}={value}" for key, value in example["query"].items())

    status, found = await shop.bank.call(
        example["method"],
        f"{path}?{query}" if query else path,
        example["request_body"],
        user=USER,
        token=token_of(shop.bank),
    )

    assert status == example["response_status"], found
    if example["response_body"] is not None:
        compare(example["response_body"], found, "", NOT_A_RULE.get(name, frozenset()))


def compare(printed: Any, found: Any, place: str, ignored: frozenset[str]) -> None:
    """What is printed is there, with the same value or the same shape; more may be there."""
    match printed:
        case dict():
            assert isinstance(found, dict), place
            for key, value in printed.items():
                assert key in found, f"{place}.{key} is missing"
                if key not in ignored:
                    compare(value, found[key], f"{place}.{key}", ignored)
        case list():
            assert len(found) == len(printed), place
            for number, (one, other) in enumerate(zip(printed, found, strict=True)):
                compare(one, other, f"{place}.{number}", ignored)
        case str():
            assert shape_of(found) == shape_of(printed), place
        case _:
            assert found == printed, place


def shape_of(value: str) -> str:
    for pattern, shape in SHAPES:
        value = pattern.sub(shape, value)
    return value


def token_of(bank: Bank) -> str:
    """A token as the login service would make it, with what it knows about the user."""
    now = int(bank.running.hub.clock.now().timestamp())
    claims = {"sub": USER, "iat": now, "exp": now + 3_600, **TOKEN_CLAIMS}
    return jwt.encode(claims, JWT_SECRET, algorithm="HS256")
