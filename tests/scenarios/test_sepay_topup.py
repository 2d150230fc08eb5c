"""A user puts money into the wallet over HTTP: ask, look, pay, look again; and every way in which asking is refused."""

from __future__ import annotations

from uuid import UUID

from handlers.sepay.operating import suspend
from handlers.sepay.tables import PayPaymentIntent
from hub.store import tables as t
from tests.scenarios.bank import LOYALTY_QUEUE, WALLET_QUEUE, Bank, transfer
from tests.support.clock import SettableClock
from tests.support.running import until

TOPUP = {"amount": 100_000, "currency": "VND", "bank_code": "BIDV", "expires_in_minutes": 60}
REFUSED: list[tuple[dict[str, object], str]] = [
    ({"amount": 0}, "invalid_amount"),
    ({"amount": -5_000}, "invalid_amount"),
    ({"amount": 1_999}, "invalid_amount"),
    ({"amount": 100_000_001}, "invalid_amount"),
    ({"amount": 100_000.5}, "invalid_amount"),
    ({"amount": "100000"}, "invalid_amount"),
    ({"amount": True}, "invalid_amount"),
    ({"amount": None}, "invalid_amount"),
    ({"currency": "USD"}, "unsupported_currency"),
    ({"bank_code": "VCB"}, "unknown_bank_code"),
    ({"expires_in_minutes": 0}, "invalid_request"),
    ({"expires_in_minutes": 1_441}, "invalid_request"),
    ({"expires_in_minutes": "soon"}, "invalid_request"),
]


async def test_a_top_up_from_the_request_to_the_balance(bank: Bank) -> None:
    status, asked = await bank.call("POST", "/wallet/topup/", TOPUP)
    assert (status, asked["status"], asked["amount"]) == (200, "processing", 100_000)
    path = f"/wallet/topup/{asked['intent_id']}/status"
    _, before = await bank.call("GET", path)

    reply = await bank.deliver(transfer(asked["transfer_content"]))

    assert reply == (200, {"success": True})
    await bank.settled()
    _, after = await bank.call("GET", path)
    _, wallet = await bank.call("GET", "/wallet/")
    assert (before["status"], before["payment_id"]) == ("processing", None)
    assert (after["status"], after["provider_payment_id"]) == ("succeeded", "123456789")
    assert (after["balance_before"], after["balance_after"]) == (0, 100_000)
    assert (wallet["balance"], wallet["currency"], wallet["status"]) == (100_000, "VND", "active")
    (credited,) = await bank.messages(WALLET_QUEUE)
    assert (credited["payment_id"], credited["balance_after"]) == (after["payment_id"], 100_000)
    (announced,) = await bank.messages(LOYALTY_QUEUE)
    assert announced["kind"] == "loyalty.wallet.credited"


async def test_the_request_and_the_transfer_can_be_found_by_the_order_code(bank: Bank) -> None:
    _, asked = await bank.call("POST", "/wallet/topup/", TOPUP)
    await bank.deliver(transfer(asked["transfer_content"]))
    await bank.settled()

    tagged = [row.event_id for row in await bank.rows(t.tags) if row.value == asked["order_code"]]

    sources = {row.source for row in await bank.rows(t.inbox) if row.id in tagged}
    assert sources == {"command", "sepay"}


async def test_without_a_token_nobody_gets_in(bank: Bank) -> None:
    for method, path in [("POST", "/wallet/topup/"), ("GET", "/wallet/"), ("GET", f"/intent/{UUID(int=1)}")]:
        status, error = await bank.call(method, path, TOPUP if method == "POST" else None, user="")

        assert (path, status, error["code"]) == (path, 401, "unauthenticated")
        assert set(error) == {"detail", "code"}


async def test_a_token_is_over_one_day(bank: Bank, clock: SettableClock) -> None:
    headers = {"Authorization": f"Bearer {bank.running.token('42')}"}
    clock.advance(366 * 86_400)

    async with bank.running.http.get(f"{bank.running.url}/api/seapay/wallet/", headers=headers) as response:
        assert (response.status, (await response.json())["code"]) == (401, "unauthenticated")


async def test_a_request_that_cannot_be_is_refused_by_name_and_leaves_nothing(bank: Bank) -> None:
    for fields, code in REFUSED:
        status, error = await bank.call("POST", "/wallet/topup/", TOPUP | fields)

        assert (fields, status, error["code"]) == (fields, 400, code)
    assert await bank.rows(t.inbox) == []
    assert await bank.entities(PayPaymentIntent) == []


async def test_the_limits_themselves_are_allowed(bank: Bank) -> None:
    for amount in (2_000, 100_000_000):
        assert (await bank.call("POST", "/wallet/topup/", TOPUP | {"amount": amount}))[0] == 200


async def test_a_suspended_wallet_asks_for_nothing(bank: Bank) -> None:
    await bank.call("GET", "/wallet/")
    await suspend(bank.running.hub.api, "42", by="ann", reason="check")

    status, error = await bank.call("POST", "/wallet/topup/", TOPUP)

    assert (status, error) == (400, {"detail": "Wallet is suspended", "code": "wallet_suspended"})


async def test_nobody_sees_another_user_s_intent(bank: Bank) -> None:
    _, asked = await bank.call("POST", "/wallet/topup/", TOPUP, user="43")

    for path in ("/intent/{}", "/wallet/topup/{}/status"):
        status, error = await bank.call("GET", path.format(asked["intent_id"]), user="42")

        assert (status, error) == (404, {"detail": "Payment intent not found", "code": "intent_not_found"})


async def test_a_user_in_a_hurry_waits_for_a_minute_and_nobody_else_does(bank: Bank, clock: SettableClock) -> None:
    for _ in range(10):
        assert (await bank.call("POST", "/wallet/topup/", TOPUP))[0] == 200

    status, error = await bank.call("POST", "/wallet/topup/", TOPUP)

    assert (status, error["code"]) == (429, "too_many_requests")
    assert (await bank.call("POST", "/wallet/topup/", TOPUP, user="43"))[0] == 200
    clock.advance(61)
    assert (await bank.call("POST", "/wallet/topup/", TOPUP))[0] == 200


async def test_a_code_that_nobody_paid_expires_on_schedule_and_late_money_waits(
    bank: Bank, clock: SettableClock
) -> None:
    _, asked = await bank.call("POST", "/wallet/topup/", TOPUP)
    clock.advance(2 * 3_600)
    await schedule_has_run(bank)

    await bank.deliver(transfer(asked["transfer_content"], transactionDate="2024-11-15 11:35:00"))

    await bank.settled()
    assert await bank.outcomes("settle-bank-transfer") == ["late_payment"]
    assert await bank.suspense() == 100_000
    _, intent = await bank.call("GET", f"/intent/{asked['intent_id']}")
    assert (intent["status"], intent["is_expired"]) == ("expired", True)


async def schedule_has_run(bank: Bank) -> None:
    async def ran() -> bool:
        return await bank.outcomes("expire-sepay-intents") == ["expired"]

    await until(ran)
