"""The wallet's HTTP API, over a real socket and a real database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from handlers.sepay.http import routes
from hub.api import HubApi
from hub.ingress.server import both_slashes
from tests.unit.sepay.bench import settle, suspend
from tests.unit.sepay.desk import Desk
from tests.unit.sepay.desk_api import DeskApi

TOPUP = {"amount": 100_000, "currency": "VND", "bank_code": "BIDV", "expires_in_minutes": 60}
Client = TestClient[web.Request, web.Application]


@pytest.fixture
def api(desk: Desk) -> DeskApi:
    return DeskApi(desk)


@pytest.fixture
async def client(api: DeskApi) -> AsyncIterator[Client]:
    app = web.Application()
    app.add_routes(both_slashes(routes(cast(HubApi, api))))
    async with TestClient(TestServer(app)) as client:
        yield client


async def call(client: Client, method: str, path: str, body: object = None, user: str = "42") -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {user}"} if user else {}
    async with client.request(method, f"/api/seapay{path}", json=body, headers=headers) as response:
        return response.status, await response.json()


async def test_a_top_up_answers_as_the_guide_prints_it(client: Client) -> None:
    status, reply = await call(client, "POST", "/wallet/topup/", TOPUP)

    assert status == 200
    assert set(reply) == {
        *("intent_id", "order_code", "amount", "currency", "status", "qr_image_url", "qr_code_url", "account_number"),
        *("account_name", "transfer_content", "bank_code", "expires_at", "message"),
    }
    assert (reply["amount"], reply["status"], reply["expires_at"]) == (100_000, "processing", "2024-11-15T03:35:05Z")
    assert reply["message"] == "Topup request created successfully. Please scan the QR code to complete payment."


async def test_the_status_of_a_top_up_follows_its_money(client: Client, desk: Desk) -> None:
    _, first = await call(client, "POST", "/wallet/topup", TOPUP)
    await settle(desk, first["transfer_content"], id=1)
    _, second = await call(client, "POST", "/wallet/topup", TOPUP)
    path = f"/wallet/topup/{second['intent_id']}/status"

    _, before = await call(client, "GET", path)
    await settle(desk, second["transfer_content"], id=2)
    _, after = await call(client, "GET", f"{path}/")

    assert (before["status"], before["payment_id"], before["completed_at"]) == ("processing", None, None)
    assert (after["status"], after["provider_payment_id"], after["message"]) == (
        "succeeded",
        "2",
        "Topup status: succeeded",
    )
    assert (after["balance_before"], after["balance_after"]) == (100_000, 200_000)
    assert after["completed_at"] == "2024-11-15T02:35:05Z"
    assert after["account_number"] == "96247TEST1"
    assert "currency" not in after


async def test_a_first_top_up_begins_at_zero(client: Client, desk: Desk) -> None:
    _, reply = await call(client, "POST", "/wallet/topup", TOPUP)
    await settle(desk, reply["transfer_content"])

    _, status = await call(client, "GET", f"/wallet/topup/{reply['intent_id']}/status")

    assert (status["balance_before"], status["balance_after"]) == (0, 100_000)


@pytest.mark.parametrize("path", ["/wallet", "/wallet/"])
async def test_looking_at_a_wallet_opens_it(client: Client, path: str) -> None:
    status, wallet = await call(client, "GET", path)
    _, again = await call(client, "GET", path)

    assert status == 200
    assert set(wallet) == {"wallet_id", "balance", "currency", "status", "created_at", "updated_at"}
    assert (wallet["balance"], wallet["currency"], wallet["status"]) == (0, "VND", "active")
    assert again == wallet


async def test_the_wallet_shows_what_was_credited(client: Client, desk: Desk) -> None:
    _, reply = await call(client, "POST", "/wallet/topup/", TOPUP)
    await settle(desk, reply["transfer_content"])

    _, wallet = await call(client, "GET", "/wallet/")

    assert wallet["balance"] == 100_000


async def test_an_intent_says_when_it_has_expired(client: Client, desk: Desk) -> None:
    _, reply = await call(client, "POST", "/wallet/topup/", TOPUP)
    path = f"/intent/{reply['intent_id']}"
    _, before = await call(client, "GET", path)
    desk.later(hours=2)

    _, after = await call(client, "GET", path)

    assert set(before) == {
        *("intent_id", "order_code", "amount", "status", "purpose", "expires_at", "is_expired"),
        *("created_at", "updated_at"),
    }
    assert (before["is_expired"], after["is_expired"], before["purpose"]) == (False, True, "wallet_topup")


@pytest.mark.parametrize("path", ["/intent/{id}", "/wallet/topup/{id}/status"])
async def test_nobody_sees_what_belongs_to_someone_else(client: Client, path: str) -> None:
    _, reply = await call(client, "POST", "/wallet/topup/", TOPUP, user="43")

    for id in (reply["intent_id"], str(uuid4()), str(UUID(int=0)), "nonsense"):
        status, error = await call(client, "GET", path.format(id=id))
        assert (status, error) == (404, {"detail": "Payment intent not found", "code": "intent_not_found"})


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/wallet/topup/"), ("GET", "/wallet/"), ("GET", f"/intent/{UUID(int=1)}")],
)
async def test_without_a_token_nobody_gets_in(client: Client, method: str, path: str) -> None:
    status, error = await call(client, method, path, user="")

    assert (status, error["code"]) == (401, "unauthenticated")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({**TOPUP, "amount": 0.5}, 400, "invalid_amount"),
        ({**TOPUP, "amount": "100000"}, 400, "invalid_amount"),
        ({"currency": "VND"}, 400, "invalid_amount"),
        ({**TOPUP, "currency": "USD"}, 400, "unsupported_currency"),
        ({**TOPUP, "currency": 5}, 400, "invalid_request"),
        ({**TOPUP, "bank_code": "VCB"}, 400, "unknown_bank_code"),
        ({**TOPUP, "expires_in_minutes": -1}, 400, "invalid_request"),
        ([], 400, "invalid_request"),
    ],
)
async def test_errors_have_the_shape_of_this_api(client: Client, body: object, status: int, code: str) -> None:
    answered, error = await call(client, "POST", "/wallet/topup/", body)

    assert (answered, error["code"]) == (status, code)
    assert set(error) == {"detail", "code"}


async def test_an_amount_may_be_written_with_zeros_behind_the_point(client: Client) -> None:
    async with client.post(
        "/api/seapay/wallet/topup/", data=b'{"amount": 100000.0}', headers={"Authorization": "Bearer 42"}
    ) as response:
        assert (await response.json())["amount"] == 100_000


async def test_a_body_that_is_not_json_is_refused(client: Client) -> None:
    async with client.post("/api/seapay/wallet/topup/", data=b"{", headers={"Authorization": "Bearer 42"}) as response:
        assert (response.status, (await response.json())["code"]) == (400, "invalid_request")


async def test_nobody_asks_for_a_top_up_in_another_s_name(client: Client, desk: Desk) -> None:
    await call(client, "POST", "/wallet/topup/", {**TOPUP, "user_id": "43"})

    _, wallet = await call(client, "GET", "/wallet/", user="43")
    _, own = await call(client, "GET", "/wallet/")
    assert wallet["wallet_id"] != own["wallet_id"]


async def test_a_suspended_wallet_is_refused_by_name(client: Client, desk: Desk) -> None:
    await call(client, "GET", "/wallet/")
    await suspend(desk)

    status, error = await call(client, "POST", "/wallet/topup/", TOPUP)

    assert (status, error) == (400, {"detail": "Wallet is suspended", "code": "wallet_suspended"})


async def test_a_database_that_is_down_is_said_in_this_api_s_words(client: Client, api: DeskApi) -> None:
    api.is_down = True

    status, error = await call(client, "POST", "/wallet/topup/", TOPUP)

    assert (status, error["code"]) == (503, "temporarily_unavailable")
