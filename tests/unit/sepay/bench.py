"""The steps of a payment, on a desk: ask for a top-up, transfer money, look at the wallet."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from handlers.sepay.bank_values import bank_time_text
from handlers.sepay.books import SUSPENSE, bank_account, wallet_account
from handlers.sepay.crediting import release_held
from handlers.sepay.settle import settle_transfer
from handlers.sepay.tables import PayBankTransaction, PayPaymentIntent, PayWallet
from handlers.sepay.topup import request_topup
from handlers.sepay.wallets import activate_wallet, suspend_wallet
from schemas.sepay import HeldTransferReleased, TopupReply
from tests.unit.sepay.desk import Caused, Desk

USER = "42"
CLEARING = bank_account("8880000001")


async def ask_for_topup(desk: Desk, amount: int = 100_000, **fields: object) -> TopupReply:
    caused = await desk.run(request_topup, {"user_id": USER, "amount": amount, **fields})
    assert isinstance(caused.result, TopupReply)
    return caused.result


def transfer(desk: Desk, content: str, amount: object = 100_000, **fields: object) -> dict[str, Any]:
    booked_at = fields.pop("booked_at", desk.now)
    assert isinstance(booked_at, datetime)
    return {
        "id": 123456789,
        "gateway": "BIDV",
        "transactionDate": bank_time_text(booked_at),
        "accountNumber": "8880000001",
        "subAccount": "96247TEST1",
        "code": None,
        "content": content,
        "transferType": "in",
        "transferAmount": amount,
        "referenceCode": "FT24315123456",
        "description": "",
        "accumulated": 0,
        **fields,
    }


async def settle(desk: Desk, content: str, amount: object = 100_000, **fields: object) -> Caused:
    return await desk.run(settle_transfer, transfer(desk, content, amount, **fields))


async def suspend(desk: Desk) -> Caused:
    return await desk.run(suspend_wallet, {"user_id": USER})


async def activate(desk: Desk) -> list[Caused]:
    """Activate the wallet and run what that causes."""
    caused = await desk.run(activate_wallet, {"user_id": USER})
    releases = [payload for type_, payload in caused.emitted if type_ == "sepay.transfer.held_released"]
    assert caused.result == len(releases)
    return [await release(desk, payload) for payload in releases]


async def release(desk: Desk, payload: HeldTransferReleased) -> Caused:
    return await desk.run(release_held, payload)


async def wallet(desk: Desk) -> PayWallet:
    (found,) = await desk.rows(PayWallet)
    return found


async def wallet_balance(desk: Desk) -> int:
    return await desk.balance(wallet_account((await wallet(desk)).id))


async def suspense(desk: Desk) -> int:
    return await desk.balance(SUSPENSE)


async def intent_of(desk: Desk) -> PayPaymentIntent:
    (found,) = await desk.rows(PayPaymentIntent)
    return found


async def bank_transaction(desk: Desk) -> PayBankTransaction:
    (found,) = await desk.rows(PayBankTransaction)
    return found
