"""Who may call which route: every route of a running hub, with each kind of caller. A new route must be listed here.

The console has a login of its own, and its own test of who may see and do what.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from ruamel.yaml import YAML

from hub.ingress.tokens import GRANTS, Role, Tokens
from tests.scenarios.bank import ACCOUNTS
from tests.support.running import API_KEY, PROJECT, RunningHub, environment, running

AN_ID: Final = "0190a7c4-0000-7000-8000-000000000000"
KEYS: Final = {role: API_KEY if role is Role.ADMIN else f"key-of-a-{role}-5f1c" for role in Role}
LET_IN: Final = 0
NOBODY, STRANGER, USER, FOREIGN = "nobody", "a key that is not known", "a user", "a user of another issuer"

OPEN: Final = frozenset(
    {
        # The proxies keep these three inside.
        "GET /healthz",
        "GET /readyz",
        "GET /metrics",
        # What the documentation says as well.
        "GET /api/docs",
        "GET /api/openapi.json",
        "GET /api/asyncapi.json",
        "GET /api/schemas",
        "GET /api/schemas/{name}.json",
        # An empty form; the workbook itself asks for a key (see below).
        "GET /admin2/ops/finance/point",
        # Proven by a client's secret, and by the scheme of SePay's webhook.
        "POST /api/sepay/oauth/token",
        "POST /api/seapay/callback",
    }
)
PROVEN_OTHERWISE: Final = frozenset({"POST /api/sepay/oauth/token", "POST /api/seapay/callback"})

OF_USERS: Final = """
POST /api/seapay/create-intent
GET  /api/seapay/intent/{intent_id}
GET  /api/seapay/intent/{intent_id}/qr.svg
GET  /api/seapay/intent/{intent_id}/qr.png
GET  /api/seapay/wallet
POST /api/seapay/wallet/topup
GET  /api/seapay/wallet/topup/{intent_id}/status
GET  /api/seapay/payments/user
POST /api/seapay/symbol/orders
GET  /api/seapay/symbol/orders/history
POST /api/seapay/symbol/order/{order_id}/pay-wallet
POST /api/seapay/symbol/orders/{order_id}/pay-wallet
POST /api/seapay/symbol/order/{order_id}/pay-sepay
POST /api/seapay/symbol/orders/{order_id}/pay-sepay
POST /api/seapay/symbol/order/{order_id}/topup-sepay
POST /api/seapay/symbol/orders/{order_id}/topup-sepay
POST /api/seapay/symbol/order/{order_id}/cancel
POST /api/seapay/symbol/orders/{order_id}/cancel
GET  /api/seapay/symbol/{symbol_id}/access
GET  /api/seapay/symbol/licenses
GET  /api/seapay/symbol/subscriptions
POST /api/seapay/symbol/subscriptions/{subscription_id}/pause
POST /api/seapay/symbol/subscriptions/{subscription_id}/resume
POST /api/seapay/symbol/subscriptions/{subscription_id}/cancel
"""
OF_ROLES: Final = {
    Role.CLIENT: """
POST /events
GET  /api/paypal/plans
GET  /plans/list
POST /api/paypal/subscriptions
POST /subscription/create
GET  /api/paypal/subscriptions/{subscription_id}
POST /api/v1/paypay/sessions
POST /api/v1/paypay/sessions/update_session
POST /api/v1/paypay/cashback
POST /mypage/point_input
GET  /api/v1/paypay/cashback/{request_id}
POST /api/v1/paypay/codes
GET  /api/v1/paypay/codes/{id}
DELETE /api/v1/paypay/codes/{id}
POST /api/v1/paypay/payments
GET  /api/v1/paypay/payments/{id}
POST /api/v1/paypay/payments/{id}/capture
POST /api/v1/paypay/payments/{id}/revert
POST /api/v1/paypay/payments/{id}/cancel
POST /api/v1/paypay/payments/{id}/refund
GET  /api/v1/paypay/refunds/{id}
""",
    Role.VIEWER: """
GET  /api/v1/paypay/transaction-files
GET  /api/v1/paypay/transaction-files/{file_id}
GET  /api/v1/paypay/transaction-files/{file_id}/rows
GET  /api/v1/paypay/transaction-files/{file_id}/raw
""",
    Role.OPERATOR: """
POST /api/v1/paypay/cashback/{request_id}/reverse
POST /api/v1/paypay/cashback/{request_id}/retry
GET  /admin2/ops/finance/point?year=2026&month=1
""",
}


def listed(lines: str) -> frozenset[str]:
    return frozenset(" ".join(line.split()) for line in lines.strip().splitlines())


def routes_of(app: web.Application) -> Iterator[tuple[str, str, Any]]:
    """Every route: method, path without a slash at its end, handler."""
    for route in app.router.routes():
        assert route.resource is not None
        yield route.method, route.resource.canonical.rstrip("/"), route.handler


def callers(hub: RunningHub) -> dict[str, dict[str, str]]:
    """Everybody by name, with the header that says so."""
    foreign = Tokens(secret="another-issuers-secret-of-32-chars").issue("42", datetime.now(UTC))
    shown = {STRANGER: "not-a-key-of-ours", USER: hub.token("42"), FOREIGN: foreign} | dict(KEYS)
    return {NOBODY: {}} | {name: {"Authorization": f"Bearer {shown}"} for name, shown in shown.items()}


def wanted(route: str) -> dict[str, int]:
    """For each caller the status that turns it away; LET_IN where none may."""
    roles = [role for role, lines in OF_ROLES.items() if route in listed(lines)]
    if route in OPEN:
        return dict.fromkeys((NOBODY, STRANGER, USER, FOREIGN, *KEYS), LET_IN)
    if not roles:
        return dict.fromkeys((NOBODY, STRANGER, FOREIGN, *KEYS), 401) | {USER: LET_IN}
    [role] = roles
    by_key = {holder: LET_IN if role in GRANTS[holder] else 403 for holder in KEYS}
    return dict.fromkeys((NOBODY, STRANGER, USER, FOREIGN), 401) | by_key


async def test_every_route_lets_in_whom_it_is_for_and_nobody_else(tmp_path: Path) -> None:
    keys = ",".join(f"{role}:{role}:{key}" for role, key in KEYS.items() if role is not Role.ADMIN)
    # Without its sandbox: nothing of what plays a provider may be there.
    more = {"HUB_API_KEYS": keys, "HUB_CONSOLE": "off", "HUB_SANDBOX": "0", "SEPAY_ACCOUNTS": ACCOUNTS}
    async with running(environment(tmp_path, **more)) as hub:
        every_route_is_listed_and_every_spelling_of_it_is_the_same(hub)
        await each_caller_is_answered_as_listed(hub)
        await what_is_proven_otherwise_is_refused_without_its_proof(hub)
        await what_belongs_to_one_user_is_not_there_for_another(hub)


def every_route_is_listed_and_every_spelling_of_it_is_the_same(hub: RunningHub) -> None:
    assert hub.hub.serving is not None
    known = OPEN.union(listed(OF_USERS), *map(listed, OF_ROLES.values()))
    handlers: dict[str, set[Any]] = {}
    for method, path, handler in routes_of(hub.hub.serving._runner.app):
        handlers.setdefault(f"{'GET' if method == 'HEAD' else method} {path}", set()).add(handler)

    assert set(handlers) == {one.partition("?")[0] for one in known}
    # With and without a slash, GET and HEAD: one handler, which asks for the caller.
    assert [route for route, found in handlers.items() if len(found) != 1] == []


async def each_caller_is_answered_as_listed(hub: RunningHub) -> None:
    everybody = callers(hub)
    wrong = []
    for route in sorted((OPEN - PROVEN_OTHERWISE).union(listed(OF_USERS), *map(listed, OF_ROLES.values()))):
        method, path = route.split(" ", 1)
        address = hub.url + re.sub(r"\{\w+\}", AN_ID, path)
        body = b"{}" if method == "POST" else None
        for caller, refusal in wanted(route).items():
            headers = everybody[caller] | {"Content-Type": "application/json"}
            async with hub.http.request(method, address, headers=headers, data=body) as response:
                # Who is let in hears that the request is wrong, or that the provider is not set up: 503.
                is_right = response.status == refusal or (not refusal and response.status not in (401, 403, 405, 500))
                wrong += [] if is_right else [(route, caller, response.status, refusal)]

    assert wrong == []


async def what_is_proven_otherwise_is_refused_without_its_proof(hub: RunningHub) -> None:
    everybody = callers(hub)
    sources = YAML(typ="safe").load((PROJECT / "routing.yaml").read_text())["sources"]
    webhooks = {name: one["webhook"] for name, one in sources.items() if "webhook" in one}
    doors = {path: name for name, one in webhooks.items() for path in (one["path"], *one.get("aliases", ()))}
    doors |= dict.fromkeys((one.removeprefix("POST ") for one in PROVEN_OTHERWISE), "sepay")
    let_in = set()
    for path, source in doors.items():
        for caller in (NOBODY, STRANGER, USER, Role.ADMIN):
            async with hub.http.post(hub.url + path, data=b'{"id": 1}', headers=everybody[caller]) as response:
                assert response.status < 500, path
                let_in |= {source} if response.status < 400 else set()

    # Our own keys and tokens prove no provider. PayPay signs no notice: it is a hint, which moves nothing by itself.
    assert let_in == {"paypay"}


async def what_belongs_to_one_user_is_not_there_for_another(hub: RunningHub) -> None:
    mine, other = ({"Authorization": f"Bearer {hub.token(user)}"} for user in ("42", "43"))
    _, asked = await hub.post("/api/seapay/wallet/topup/", json.dumps({"amount": 50_000}).encode(), **mine)
    intent = asked["intent_id"]
    for path in (f"intent/{intent}", f"wallet/topup/{intent}/status", f"intent/{intent}/qr.svg"):
        for headers, status in ((mine, 200), (other, 404)):
            async with hub.http.get(f"{hub.url}/api/seapay/{path}", headers=headers) as response:
                assert response.status == status, path
