"""Asking for a top-up: what the payer is told, and what is refused by name."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from handlers.sepay.settings import SepaySettings
from handlers.sepay.tables import PayPaymentAttempt, PayPaymentIntent, PayWallet
from handlers.sepay.topup import request_topup
from handlers.sepay.wallets import open_wallet
from hub.errors import RefusedCommand
from tests.unit.sepay.bench import USER, ask_for_topup, suspend
from tests.unit.sepay.conftest import wallet_settings
from tests.unit.sepay.desk import Desk


async def test_the_payer_is_told_what_to_transfer_and_where(desk: Desk) -> None:
    reply = await ask_for_topup(desk, bank_code="BIDV", currency="VND", expires_in_minutes=60)

    assert reply.status == "processing"
    assert reply.order_code.startswith(f"TOPUP{int(desk.now.timestamp())}")
    assert (reply.amount, reply.currency, reply.transfer_content) == (100_000, "VND", reply.order_code)
    assert (reply.account_number, reply.account_name, reply.bank_code) == ("96247TEST1", "BIDV Account", "BIDV")
    assert reply.expires_at == desk.now + timedelta(minutes=60)
    assert reply.qr_image_url == reply.qr_code_url
    assert parse_qs(urlsplit(reply.qr_code_url).query) == {
        "acc": ["96247TEST1"],
        "bank": ["BIDV"],
        "amount": ["100000"],
        "des": [reply.transfer_content],
        "template": ["compact"],
    }
    (intent,), (attempt,) = await desk.rows(PayPaymentIntent), await desk.rows(PayPaymentAttempt)
    assert (intent.purpose, intent.status, intent.amount_minor) == ("wallet_topup", "processing", 100_000)
    assert (attempt.intent_id, attempt.status) == (intent.intent_id, "processing")


async def test_every_request_has_a_code_of_its_own_and_the_user_one_wallet(desk: Desk) -> None:
    replies = [await ask_for_topup(desk) for _ in range(5)]

    assert len({reply.order_code for reply in replies}) == 5
    assert len(await desk.rows(PayWallet)) == 1


async def test_two_first_requests_at_once_open_one_wallet(desk: Desk) -> None:
    opened = await asyncio.gather(*(desk.run(open_wallet, {"user_id": USER}) for _ in range(4)))

    (wallet,) = await desk.rows(PayWallet)
    assert {caused.result for caused in opened} == {wallet.id}


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"amount": None}, "invalid_amount"),
        ({"amount": 0}, "invalid_amount"),
        ({"amount": -100_000}, "invalid_amount"),
        ({"amount": "100000"}, "invalid_amount"),
        ({"amount": True}, "invalid_amount"),
        ({"amount": 1_999}, "invalid_amount"),
        ({"amount": 100_000_001}, "invalid_amount"),
        ({"currency": "USD"}, "unsupported_currency"),
        ({"bank_code": "VCB"}, "unknown_bank_code"),
        ({"expires_in_minutes": 0}, "invalid_request"),
        ({"expires_in_minutes": 1441}, "invalid_request"),
        ({"expires_in_minutes": "soon"}, "invalid_request"),
    ],
)
async def test_a_wrong_request_is_refused_by_name(desk: Desk, fields: dict[str, object], code: str) -> None:
    with pytest.raises(RefusedCommand) as refused:
        await desk.run(request_topup, {"user_id": USER, "amount": 100_000, **fields})

    assert refused.value.code == code
    if fields.get("amount") == -100_000:
        # It is a whole number already.
        assert str(refused.value).endswith("a whole number of dong above 0")
    assert await desk.rows(PayWallet) == []


async def test_a_suspended_wallet_takes_no_top_up(desk: Desk) -> None:
    await ask_for_topup(desk)
    await suspend(desk)

    with pytest.raises(RefusedCommand, match="wallet_suspended: Wallet is suspended"):
        await ask_for_topup(desk)


async def test_a_user_in_a_hurry_is_asked_to_wait(desk: Desk) -> None:
    desk.settings = wallet_settings(intents_per_minute_max=2)
    await ask_for_topup(desk)
    await ask_for_topup(desk)

    with pytest.raises(RefusedCommand, match="too_many_requests"):
        await ask_for_topup(desk)

    desk.later(seconds=61)
    await ask_for_topup(desk)


async def test_without_a_receiving_account_nobody_can_pay(desk: Desk) -> None:
    desk.settings = SepaySettings()

    with pytest.raises(RefusedCommand, match="unknown_bank_code"):
        await ask_for_topup(desk)
