"""What becomes of a transfer: credited, held, or in suspense and on a person's list. No dong appears or vanishes."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import ValidationError

from handlers.sepay.books import bank_account
from handlers.sepay.intents import expire_intents
from handlers.sepay.tables import PayBankTransaction, PayPayment, PayPaymentAttempt
from hub.event import Verdict
from schemas.sepay import HeldTransferReleased
from tests.unit.sepay.bench import (
    CLEARING,
    activate,
    ask_for_topup,
    bank_transaction,
    intent_of,
    release,
    settle,
    suspend,
    suspense,
    wallet_balance,
)
from tests.unit.sepay.conftest import wallet_settings
from tests.unit.sepay.desk import Desk, as_json


async def test_a_transfer_with_the_order_code_credits_the_wallet(desk: Desk) -> None:
    reply = await ask_for_topup(desk)
    desk.later(minutes=5)

    caused = await settle(desk, f"MBVCB.4530998360.{reply.transfer_content}.CT tu 0011000000001")

    assert caused.outcome == "credited"
    assert (await wallet_balance(desk), await desk.balance(CLEARING), await suspense(desk)) == (100_000, 100_000, 0)
    intent, row = await intent_of(desk), await bank_transaction(desk)
    (payment,), (attempt,) = await desk.rows(PayPayment), await desk.rows(PayPaymentAttempt)
    assert (intent.status, intent.reference_code, attempt.status) == ("succeeded", "FT24315123456", "succeeded")
    assert (payment.provider_payment_id, payment.amount_minor, payment.status) == ("123456789", 100_000, "succeeded")
    assert (row.outcome, row.intent_id, row.attempt_id, row.payment_id, row.in_suspense) == (
        "credited",
        intent.intent_id,
        attempt.attempt_id,
        payment.payment_id,
        False,
    )
    message = as_json(caused.one("wallet.credited"))
    assert message["payment_id"] == str(payment.payment_id)
    assert (message["user_id"], message["amount"], message["balance_after"]) == ("42", 100_000, 100_000)
    assert {("order_code", reply.order_code), ("sepay_tx_id", "123456789"), ("user_id", "42")} <= caused.tags


async def test_the_same_transfer_again_changes_nothing(desk: Desk) -> None:
    reply = await ask_for_topup(desk)
    await settle(desk, reply.transfer_content)

    caused = await settle(desk, reply.transfer_content)

    assert caused.outcome == "ignored_duplicate"
    assert await wallet_balance(desk) == 100_000


async def test_a_second_transfer_with_the_same_code_waits_in_suspense(desk: Desk) -> None:
    reply = await ask_for_topup(desk)
    await settle(desk, reply.transfer_content)

    caused = await settle(desk, reply.transfer_content, id=123456999, referenceCode="FT24315999999")

    assert caused.review == ("duplicate_payment", "duplicate payment")
    assert (await wallet_balance(desk), await suspense(desk), await desk.balance(CLEARING)) == (
        100_000,
        100_000,
        200_000,
    )


@pytest.mark.parametrize(
    ("content", "amount", "outcome", "reason"),
    [
        ("{code}", 99_999, "amount_mismatch", "Amount mismatch"),
        ("{code}", 100_001, "amount_mismatch", "Amount mismatch"),
        ("chuyen tien mua iphone", 100_000, "unmatched", "Payment intent not found"),
        ("{cut}", 100_000, "truncated_code", "order code cut short"),
    ],
)
async def test_money_that_cannot_be_assigned_waits_in_suspense(
    desk: Desk, content: str, amount: int, outcome: str, reason: str
) -> None:
    code = (await ask_for_topup(desk)).transfer_content

    caused = await settle(desk, content.format(code=code, cut=code[:-3]), amount)

    assert caused.review == (outcome, reason)
    assert (await wallet_balance(desk), await suspense(desk), await desk.balance(CLEARING)) == (0, amount, amount)
    assert (await intent_of(desk)).status == "processing"
    row = await bank_transaction(desk)
    assert (row.outcome, row.process_error, row.in_suspense) == (outcome, reason, True)
    message = as_json(caused.one("sepay.transaction.needs_review"))
    assert (message["outcome"], message["process_error"], message["sepay_tx_id"]) == (outcome, reason, 123456789)


async def test_the_intent_of_a_problem_is_shown_beside_it(desk: Desk) -> None:
    reply = await ask_for_topup(desk)

    await settle(desk, reply.transfer_content, 1)

    row = await bank_transaction(desk)
    assert (row.intent_id, row.payment_id) == (reply.intent_id, None)


async def test_a_cut_code_suggests_the_only_open_intent_of_that_amount(desk: Desk) -> None:
    reply = await ask_for_topup(desk)

    caused = await settle(desk, f"CT {reply.transfer_content[:-4]}")

    message = as_json(caused.one("sepay.transaction.needs_review"))
    assert message["suggested_intent_id"] == str(reply.intent_id)
    assert message["partial_code"] == reply.transfer_content[:-4]
    assert (await bank_transaction(desk)).details["suggested_intent_id"] == str(reply.intent_id)


async def test_two_order_codes_in_one_transfer_are_ambiguous(desk: Desk) -> None:
    first = await ask_for_topup(desk)
    second = await ask_for_topup(desk)

    caused = await settle(desk, f"{first.transfer_content} {second.transfer_content}")

    assert caused.outcome == "ambiguous_match"
    assert await suspense(desk) == 100_000


async def test_money_at_a_foreign_account_is_not_booked(desk: Desk) -> None:
    reply = await ask_for_topup(desk)

    caused = await settle(desk, reply.transfer_content, accountNumber="9990000000", subAccount=None)

    assert caused.outcome == "account_mismatch"
    assert await desk.balance(bank_account("9990000000")) == 0
    assert (await suspense(desk), (await bank_transaction(desk)).in_suspense) == (0, False)


async def test_an_outgoing_transfer_is_noted_and_not_booked(desk: Desk) -> None:
    reply = await ask_for_topup(desk)

    caused = await settle(desk, reply.transfer_content, transferType="out")

    row = await bank_transaction(desk)
    assert (caused.outcome, caused.review, caused.emitted) == ("ignored_out", None, [])
    assert (row.amount_in_minor, row.amount_out_minor) == (0, 100_000)
    assert await desk.balance(CLEARING) == 0


@pytest.mark.parametrize("fields", [{"id": 0, "content": "x"}, {"id": 1, "content": "Giao dich thu nghiem"}])
async def test_a_test_delivery_leaves_nothing(desk: Desk, fields: dict[str, object]) -> None:
    caused = await settle(desk, **{"content": "", **fields})  # type: ignore[arg-type]

    assert caused.outcome == "test_ping"
    assert await desk.rows(PayBankTransaction) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"transferType": "credit"},
        {"transferType": None},
        {"amount": -100_000},
        {"amount": 0},
        {"transactionDate": "15/11/2024"},
    ],
)
async def test_a_transfer_that_says_nonsense_is_kept_for_a_person_and_not_booked(
    desk: Desk, fields: dict[str, object]
) -> None:
    reply = await ask_for_topup(desk)

    caused = await settle(desk, reply.transfer_content, **fields)

    assert caused.outcome == "invalid_payload"
    assert caused.review is not None
    assert caused.review[1].startswith("invalid payload: ")
    assert await desk.rows(PayBankTransaction) == []
    assert await desk.balance(CLEARING) == 0


@pytest.mark.parametrize("id", [None, -1, 2**63, "12a", True, 1.5])
async def test_a_transfer_without_a_usable_id_cannot_be_read(desk: Desk, id: object) -> None:
    with pytest.raises(ValidationError):
        await settle(desk, "x", id=id)


async def test_form_bodies_carry_numbers_as_text(desk: Desk) -> None:
    reply = await ask_for_topup(desk)

    caused = await settle(desk, reply.transfer_content, "100000", id="123456789", accumulated="0")

    assert caused.outcome == "credited"


async def test_bank_time_decides_what_is_late_and_not_the_webhook(desk: Desk) -> None:
    reply = await ask_for_topup(desk, expires_in_minutes=10)
    paid_at = desk.now
    desk.later(minutes=11)
    assert (await desk.run(expire_intents, None)).outcome == "expired"
    assert (await intent_of(desk)).status == "expired"

    caused = await settle(desk, reply.transfer_content, booked_at=paid_at)

    assert caused.outcome == "credited"
    assert (await intent_of(desk)).status == "succeeded"
    assert [a.status for a in await desk.rows(PayPaymentAttempt)] == ["succeeded"]


@pytest.mark.parametrize(("seconds_late", "outcome"), [(0, "credited"), (60, "credited"), (61, "late_payment")])
async def test_a_minute_of_grace_covers_banks_that_round(desk: Desk, seconds_late: int, outcome: str) -> None:
    reply = await ask_for_topup(desk, expires_in_minutes=10)
    desk.later(minutes=10, seconds=seconds_late)

    caused = await settle(desk, reply.transfer_content)

    assert caused.outcome == outcome


async def test_late_money_waits_for_a_person(desk: Desk) -> None:
    reply = await ask_for_topup(desk, expires_in_minutes=10)
    desk.later(hours=1)
    await desk.run(expire_intents, None)

    caused = await settle(desk, reply.transfer_content)

    assert caused.review == ("late_payment", "Payment intent expired")
    assert (await wallet_balance(desk), await suspense(desk)) == (0, 100_000)
    assert (await intent_of(desk)).status == "expired"


async def test_late_money_is_credited_where_the_policy_says_so(desk: Desk) -> None:
    desk.settings = wallet_settings(late_policy="credit_wallet")
    reply = await ask_for_topup(desk, expires_in_minutes=10)
    desk.later(hours=1)

    caused = await settle(desk, reply.transfer_content)

    assert caused.outcome == "credited"
    assert (await wallet_balance(desk), (await intent_of(desk)).status) == (100_000, "expired")


async def test_money_for_a_suspended_wallet_is_held_and_released_once(desk: Desk) -> None:
    reply = await ask_for_topup(desk)
    await suspend(desk)

    caused = await settle(desk, reply.transfer_content)

    assert caused.review == ("wallet_suspended", "Wallet is suspended")
    assert (await wallet_balance(desk), await suspense(desk)) == (0, 100_000)
    assert (await intent_of(desk)).status == "processing"

    (released,) = await activate(desk)

    assert released.outcome == "credited"
    assert released.resolved == [((await bank_transaction(desk)).event_id, "credited: the wallet is active again")]
    assert (await wallet_balance(desk), await suspense(desk), await desk.balance(CLEARING)) == (100_000, 0, 100_000)
    assert (await intent_of(desk)).status == "succeeded"
    assert released.one("wallet.credited").balance_after == 100_000
    again = await release(desk, HeldTransferReleased(sepay_tx_id=123456789))
    assert (again.outcome, await wallet_balance(desk)) == ("already_processed", 100_000)


async def test_an_intent_whose_money_is_held_does_not_expire(desk: Desk) -> None:
    reply = await ask_for_topup(desk, expires_in_minutes=10)
    await suspend(desk)
    await settle(desk, reply.transfer_content)
    desk.later(days=1)

    caused = await desk.run(expire_intents, None)

    assert caused.outcome == "nothing_due"
    assert [released.outcome for released in await activate(desk)] == ["credited"]


async def test_of_two_held_transfers_of_one_intent_only_one_is_credited(desk: Desk) -> None:
    reply = await ask_for_topup(desk)
    await suspend(desk)
    await settle(desk, reply.transfer_content, id=1001)
    await settle(desk, reply.transfer_content, id=1002)

    released = await activate(desk)

    assert [caused.outcome for caused in released] == ["credited", "duplicate_payment"]
    assert (await wallet_balance(desk), await suspense(desk)) == (100_000, 100_000)


async def test_a_wallet_that_is_suspended_again_keeps_its_transfer_held(desk: Desk) -> None:
    reply = await ask_for_topup(desk)
    await suspend(desk)
    await settle(desk, reply.transfer_content)
    payload = HeldTransferReleased(sepay_tx_id=123456789)

    caused = await release(desk, payload)

    assert (caused.outcome, caused.review, caused.resolved) == ("wallet_suspended", None, [])
    assert [released.outcome for released in await activate(desk)] == ["credited"]


async def test_two_transfers_of_one_intent_at_once_credit_once(desk: Desk) -> None:
    reply = await ask_for_topup(desk)

    caused = await asyncio.gather(*(settle(desk, reply.transfer_content, id=id) for id in range(1, 9)))

    assert sorted(one.outcome for one in caused) == ["credited", *["duplicate_payment"] * 7]
    assert (await wallet_balance(desk), await suspense(desk)) == (100_000, 700_000)


async def test_a_transfer_that_meets_the_activation_is_credited_in_any_order(desk: Desk) -> None:
    replies = [await ask_for_topup(desk) for _ in range(6)]
    await suspend(desk)
    settling = [settle(desk, reply.transfer_content, id=id) for id, reply in enumerate(replies, start=1)]

    await asyncio.gather(*settling[:3], activate(desk), *settling[3:])

    assert (await wallet_balance(desk), await suspense(desk)) == (600_000, 0)


async def test_money_on_the_statement_is_booked_whatever_its_text_says(desk: Desk) -> None:
    desk.verdict = Verdict.TRUSTED

    assert (await settle(desk, "Giao dich thu nghiem", 5_000)).outcome == "unmatched"

    assert (await suspense(desk), (await bank_transaction(desk)).source) == (5_000, "reconcile")
