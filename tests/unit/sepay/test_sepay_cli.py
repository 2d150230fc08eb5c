"""The command line of the wallet: tables for people, JSON for programs, exit codes for both."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from typer.testing import CliRunner

from handlers.sepay import cli, operating
from handlers.sepay.operating import PaymentOrder, SuspenseLine
from handlers.sepay.sandbox import Answer, Payment
from handlers.sepay.views import WalletLine
from hub.errors import UsageError
from schemas.sepay import WalletReply

NOON = datetime(2024, 11, 15, 12, tzinfo=UTC)
WALLET = WalletReply(
    wallet_id=UUID(int=1), balance=150_000, currency="VND", status="active", created_at=NOON, updated_at=NOON
)


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    @asynccontextmanager
    async def opened(*, needs_secrets: bool = True) -> AsyncIterator[SimpleNamespace]:
        yield SimpleNamespace(api=None)

    monkeypatch.setattr(cli, "opened", opened)


def answering(monkeypatch: pytest.MonkeyPatch, name: str, answer: object) -> list[tuple[Any, ...]]:
    """Let this operation answer so; returns the arguments that it is called with."""
    calls: list[tuple[Any, ...]] = []

    async def operation(api: object, *args: object, **named: object) -> object:
        calls.append((*args, *named.values()))
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(operating, name, operation)
    return calls


def invoke(*words: str, sandbox: bool = False) -> tuple[int, str]:
    result = CliRunner().invoke(cli.sandbox_cli if sandbox else cli.sepay_cli, words)
    return result.exit_code, result.output


def test_a_wallet_is_shown_to_people_and_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, "show_wallet", WALLET)

    code, text = invoke("wallet", "show", "42")
    _, document = invoke("wallet", "show", "42", "--json")

    assert code == 0
    assert "150,000" in text
    assert json.loads(document)["balance"] == 150_000


def test_a_user_without_a_wallet_is_a_wrong_call(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, "show_wallet", UsageError("user 7 has no wallet"))

    code, text = invoke("wallet", "show", "7")

    assert (code, "user 7 has no wallet" in text) == (2, True)


def test_the_history_shows_signs_and_balances(monkeypatch: pytest.MonkeyPatch) -> None:
    line = WalletLine(NOON, "deposit", "sepay:transfer:1", 100_000, 50_000, 150_000)
    calls = answering(monkeypatch, "show_history", [line])

    _, text = invoke("wallet", "history", "42", "--limit", "5")
    _, document = invoke("wallet", "history", "42", "--json")

    assert calls[0] == ("42", 5)
    assert "+100,000" in text
    assert json.loads(document)[0]["after_minor"] == 150_000


def test_whoever_suspends_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = answering(monkeypatch, "suspend", WALLET)

    assert invoke("wallet", "suspend", "42", "--by", "ann", "--reason", "check")[0] == 0
    assert calls == [("42", "ann", "check")]


def test_activating_says_how_much_is_released(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, "activate", (WALLET, 2))

    _, text = invoke("wallet", "activate", "42", "--by", "ann")
    _, document = invoke("wallet", "activate", "42", "--by", "ann", "--json")

    assert "released: 2" in text
    assert json.loads(document)["released"] == 2


def test_money_in_suspense_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    line = SuspenseLine(9, NOON, 5_000, "unmatched", "ung ho [abc]", None, None, UUID(int=2))
    answering(monkeypatch, "list_unmatched", [line])

    code, text = invoke("unmatched", "list")
    _, document = invoke("unmatched", "list", "--json")

    assert code == 0
    assert "unmatched" in text
    assert json.loads(document)[0]["content"] == "ung ho [abc]"


def test_the_bank_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    payment = Payment(id=7, code="TOPUP1", amount_minor=5_000, booked_at=NOON)
    calls = answering(monkeypatch, "pay", (payment, [Answer(200, '{"success": true}')] * 2))

    code, text = invoke(
        *("TOPUP1", "--amount", "5000", "--bank", "acb", "--duplicate", "--out", "--id", "7"),
        *("--booked-at", "2024-11-15 19:00:00"),
        sandbox=True,
    )

    assert code == 0
    assert text.count("the hub answered 200") == 2
    assert calls == [
        (
            PaymentOrder(
                order_code="TOPUP1", amount_minor=5_000, id=7, bank="acb", booked_at=NOON, is_out=True, deliveries=2
            ),
        )
    ]


def test_a_refused_delivery_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    payment = Payment(id=7, code="TOPUP1", amount_minor=5_000, booked_at=NOON)
    answering(monkeypatch, "pay", (payment, [Answer(401, '{"success": false}')]))

    code, document = invoke("TOPUP1", "--json", sandbox=True)

    assert code == 1
    assert json.loads(document)["answers"] == [{"status": 401, "body": '{"success": false}'}]


def test_a_time_in_another_form_is_a_wrong_call(monkeypatch: pytest.MonkeyPatch) -> None:
    code, text = invoke("TOPUP1", "--booked-at", "yesterday", sandbox=True)

    assert (code, "--booked-at: the date is not" in text) == (2, True)
