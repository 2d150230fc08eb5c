"""What a person decides about money: where it goes, who is told, and that it is decided once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from handlers.sepay import deciding
from handlers.sepay.operating import list_unmatched, suspend
from handlers.sepay.tables import PayBankTransaction, PayPaymentIntent
from hub.api import HubApi
from hub.errors import RefusedCommand, UsageError
from hub.store import tables as t
from tests.scenarios.bank import REVIEW_QUEUE, WALLET_QUEUE, Bank, transfer

NOTE = "the payer has shown a receipt"
BANK = "sepay:bank:8880000001"


async def in_suspense(bank: Bank, amount: int = 70_000, *, id: int = 4711) -> HubApi:
    """A transfer that nobody can place, and a user with an empty wallet."""
    await bank.call("GET", "/wallet/")
    assert (await bank.deliver(transfer("who is this", amount, id=id)))[0] == 200
    await bank.settled()
    assert await bank.suspense() >= amount
    return bank.running.hub.api


async def open_reviews(bank: Bank) -> list[Any]:
    return [row for row in await bank.rows(t.reviews) if row.state == "open"]


async def refusal(work: Callable[[], Awaitable[object]]) -> str:
    with pytest.raises(RefusedCommand) as refused:
        await work()
    return refused.value.code


async def test_money_in_suspense_goes_to_the_user_that_a_person_names(bank: Bank) -> None:
    api = await in_suspense(bank)

    closed = await deciding.assign(api, 4711, intent=None, user_id="42", by="ann", note=NOTE)

    await bank.settled()
    assert closed == 1
    assert (await bank.call("GET", "/wallet/"))[1]["balance"] == 70_000
    assert (await bank.suspense(), await list_unmatched(api, 10), await open_reviews(bank)) == (0, [], [])
    (row,) = await bank.entities(PayBankTransaction)
    assert (row.outcome, row.details["assigned_by"], row.process_error) == ("credited", "ann", None)
    assert [message["balance_after"] for message in await bank.messages(WALLET_QUEUE)] == [70_000]
    resolved = (await bank.messages(REVIEW_QUEUE))[-1]
    assert (resolved["resolution"], resolved["user_id"], resolved["note"]) == ("assigned", "42", NOTE)


async def test_a_top_up_is_credited_with_what_came(bank: Bank) -> None:
    _, asked = await bank.call("POST", "/wallet/topup/", {"amount": 100_000})
    await bank.deliver(transfer(asked["transfer_content"], 99_000, id=5))
    await bank.settled()
    api = bank.running.hub.api

    await deciding.assign(api, 5, intent=asked["order_code"], user_id=None, by="ann", note=NOTE)

    await bank.settled()
    assert (await bank.call("GET", "/wallet/"))[1]["balance"] == 99_000
    (intent,) = await bank.entities(PayPaymentIntent)
    assert intent.status == "succeeded"
    # Whoever pays the same code again pays twice.
    await bank.deliver(transfer(asked["transfer_content"], id=6))
    await bank.settled()
    assert (await bank.outcomes("settle-bank-transfer"))[-1] == "duplicate_payment"
    assert (
        await refusal(lambda: deciding.assign(api, 6, intent=asked["intent_id"], user_id=None, by="ann", note=NOTE))
        == "intent_paid"
    )


async def test_a_transfer_is_decided_once(bank: Bank) -> None:
    api = await in_suspense(bank)
    await deciding.assign(api, 4711, intent=None, user_id="42", by="ann", note=NOTE)

    again = [
        await refusal(lambda: deciding.assign(api, 4711, intent=None, user_id="42", by="bob", note=NOTE)),
        await refusal(lambda: deciding.note_refund(api, 4711, by="bob", note=NOTE)),
        await refusal(lambda: deciding.note_refund(api, 4712, by="bob", note=NOTE)),
    ]

    assert again == ["not_in_suspense", "not_in_suspense", "transfer_not_found"]
    assert (await bank.call("GET", "/wallet/"))[1]["balance"] == 70_000


async def test_money_that_was_sent_back_leaves_suspense_and_the_bank(bank: Bank) -> None:
    api = await in_suspense(bank)

    closed = await deciding.note_refund(api, 4711, by="ann", note="sent back")

    await bank.settled()
    balances = await bank.balances()
    assert (closed, balances["sepay:suspense"], balances[BANK]) == (1, 0, 0)
    (row,) = await bank.entities(PayBankTransaction)
    assert (row.outcome, row.in_suspense, row.details["note"]) == ("refunded", False, "sent back")
    assert (await bank.messages(REVIEW_QUEUE))[-1]["resolution"] == "refunded"


async def test_what_makes_no_sense_is_said_and_moves_nothing(bank: Bank) -> None:
    api = await in_suspense(bank)
    wrong: list[dict[str, Any]] = [
        {"intent": None, "user_id": None},
        {"intent": "TOPUP1700000000ABCD1234", "user_id": "42"},
        {"intent": "TOPUP1700000000ABCD1234", "user_id": None},
        {"intent": None, "user_id": "nobody"},
        {"intent": None, "user_id": "42", "note": " "},
    ]
    for order in wrong:
        with pytest.raises(UsageError):
            await deciding.assign(api, 4711, **{"by": "ann", "note": NOTE, **order})
    await suspend(api, "42", by="ann", reason="")
    assert (
        await refusal(lambda: deciding.assign(api, 4711, intent=None, user_id="42", by="ann", note=NOTE))
        == "wallet_suspended"
    )

    assert await bank.suspense() == 70_000
    assert len(await open_reviews(bank)) == 1


async def test_a_refund_and_a_withdrawal_stand_in_the_wallet_s_history(bank: Bank) -> None:
    api = await in_suspense(bank)
    await deciding.assign(api, 4711, intent=None, user_id="42", by="ann", note=NOTE)

    back = deciding.adjustment("42", 30_000, by="ann", note="bot was down")
    refunded = await deciding.refund(api, back, request_id="ticket-1")
    with pytest.raises(UsageError, match="given before"):
        await deciding.refund(api, back, request_id="ticket-1")
    paid_out = deciding.adjustment("42", 90_000, by="ann", note="paid out")
    withdrawn = await deciding.withdraw(api, paid_out, request_id=None)
    more = deciding.adjustment("42", 10_001, by="ann", note="more")
    short = await refusal(lambda: deciding.withdraw(api, more, request_id=None))

    await bank.settled()
    assert (refunded.balance_after, withdrawn.balance_after, short) == (100_000, 10_000, "insufficient_balance")
    balances = await bank.balances()
    assert (balances[BANK], balances["sepay:sales"]) == (-20_000, -30_000)
    kinds = [message.get("kind", "credit") for message in await bank.messages(WALLET_QUEUE)]
    assert kinds == ["credit", "refund", "withdrawal"]
