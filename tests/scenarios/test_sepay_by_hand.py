"""Money that the hub could not book by itself: a person says what it was, and the books agree with the bank again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from handlers.sepay import deciding
from handlers.sepay.operating import list_unmatched
from handlers.sepay.reconciling import compare
from handlers.sepay.settings import SepaySettings
from handlers.sepay.statement import read_page_v1
from handlers.sepay.statement_api import Window
from handlers.sepay.tables import PayBankTransaction
from hub.errors import PermanentError, RefusedCommand, UsageError
from hub.jsonbody import write_json
from hub.store import tables as t
from tests.scenarios.bank import MAIN_ACCOUNT, REVIEW_QUEUE, Bank, transfer
from tests.scenarios.conftest import NOW

ELSEWHERE = "7770000001"
NOTE = "the account was missing in SEPAY_ACCOUNTS"


async def settle(bank: Bank, number: int, **said: Any) -> str:
    order = deciding.settlement(
        number, **{"to": None, "amount": None, "booked_at": None, "by": "ann", "note": NOTE, **said}
    )
    done = await deciding.settle(bank.running.hub.api, order)
    await bank.settled()
    return done.outcome


async def refusal(bank: Bank, number: int, **said: Any) -> str:
    with pytest.raises(RefusedCommand) as refused:
        await settle(bank, number, **said)
    return refused.value.code


async def open_reviews(bank: Bank) -> list[str]:
    return [row.outcome for row in await bank.rows(t.reviews) if row.state == "open"]


async def unprocessed(bank: Bank) -> list[tuple[int | None, str | None, str | None]]:
    """What the payment module's operators find to do."""
    query = "SELECT sepay_tx_id, outcome, process_error FROM pay_sepay_webhook_events WHERE NOT processed"
    async with bank.running.hub.store.reading() as conn:
        rows = await conn.execute(text(f"{query} ORDER BY sepay_tx_id"))
        return [(row.sepay_tx_id, row.outcome, row.process_error) for row in rows]


async def test_what_is_in_no_account_is_booked_by_hand_and_agrees_with_the_bank(bank: Bank) -> None:
    _, asked = await bank.call("POST", "/wallet/topup/", {"amount": 100_000})
    code = asked["transfer_content"]
    unknown = {"accountNumber": ELSEWHERE, "subAccount": None}
    bodies = [
        transfer(code, id=1, **unknown),
        transfer("no code at all", 70_000, id=2, **unknown),
        transfer("unreadable", "a lot", id=3),
        transfer("went out", "a lot", id=4, transferType="out"),
    ]
    for body in bodies:
        assert (await bank.deliver(body))[0] == 200
    await bank.settled()
    api = bank.running.hub.api
    assert [(line.sepay_tx_id, line.outcome) for line in await list_unmatched(api, 10)] == [
        (1, "account_mismatch"),
        (2, "account_mismatch"),
    ]
    assert [number for number, _, _ in await unprocessed(bank)] == [1, 2, 3, 4]

    assert await refusal(bank, 1) == "unknown_account"
    assert await refusal(bank, 3) == "invalid_payload"
    assert await refusal(bank, 4, amount=1) == "not_incoming"
    assert await refusal(bank, 5) == "transfer_not_found"
    with pytest.raises(UsageError, match="--note"):
        await settle(bank, 1, note=" ")
    with pytest.raises(RefusedCommand, match="unmatched settle"):
        await deciding.assign(api, 1, intent=None, user_id="42", by="ann", note=NOTE)
    assert await settle(bank, 1, to=MAIN_ACCOUNT) == "credited"
    assert await settle(bank, 2, to=MAIN_ACCOUNT) == "unmatched"
    assert await settle(bank, 3, amount=30_000) == "unmatched"
    assert await refusal(bank, 1, to=MAIN_ACCOUNT) == "already_booked"

    # What is in suspense now is decided on as ever, and its review, which stayed open, is closed by that.
    assert sorted(await open_reviews(bank)) == ["account_mismatch", "invalid_payload", "invalid_payload"]
    assert await bank.suspense() == 100_000
    await deciding.assign(api, 2, intent=None, user_id="42", by="ann", note=NOTE)
    await deciding.note_refund(api, 3, by="ann", note=NOTE)
    await bank.settled()
    assert (await open_reviews(bank), await bank.suspense()) == (["invalid_payload"], 0)
    assert await unprocessed(bank) == [(4, "invalid_payload", "invalid payload: the amount is not a number")]
    assert (await bank.call("GET", "/wallet/"))[1]["balance"] == 170_000
    rows = {row.sepay_tx_id: row for row in await bank.entities(PayBankTransaction)}
    assert (rows[3].source, rows[3].details["settled_by"], rows[3].details["settled_to"]) == (
        "manual",
        "ann",
        MAIN_ACCOUNT,
    )
    told = [message["resolution"] for message in await bank.messages(REVIEW_QUEUE) if "resolution" in message]
    assert told == ["settled", "settled", "settled", "assigned", "refunded"]
    assert await differences(bank) == []


async def differences(bank: Bank) -> list[tuple[str, int]]:
    """The books against a statement that shows these transfers as the bank has them."""
    settings: SepaySettings = bank.running.hub.settings_of("sepay")
    times = {"transaction_date": "2024-11-15 09:35:00", "amount_out": "0.00"}
    listed = [
        {"id": "1", "account_number": ELSEWHERE, "amount_in": "100000.00", **times},
        {"id": "2", "account_number": ELSEWHERE, "amount_in": "70000.00", **times},
        {"id": "3", "account_number": MAIN_ACCOUNT, "amount_in": "30000.00", **times},
    ]
    body = write_json({"status": 200, "error": None, "transactions": listed}).encode()
    window = Window(NOW - timedelta(hours=1), NOW)
    async with bank.running.hub.api.reading() as session:
        found = await compare(session, read_page_v1(body, limit=10).rows, window, settings.receiving)
    assert (found.at_bank_minor, found.in_books_minor) == (200_000, 200_000)
    return [(one.kind, one.sepay_tx_id) for one in found.differences]


async def test_the_view_of_webhooks_shows_what_is_parked_and_nothing_that_is_over(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bank.deliver(transfer("Giao dich thu nghiem", id=0))
    await bank.deliver(b"this is not JSON")
    monkeypatch.setattr("handlers.sepay.settle.read_transfer", _fail)
    await bank.deliver(transfer("x", id=8))
    await bank.settled()

    shown = sorted(await unprocessed(bank), key=str)
    assert shown[0] == (8, None, "it cannot be run")
    assert shown[1][:2] == (None, None)
    assert "expected JSON" in (shown[1][2] or "")
    assert len(shown) == 2


def _fail(_: object) -> None:
    raise PermanentError("it cannot be run")
