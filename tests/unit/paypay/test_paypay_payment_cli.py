"""``hub paypay payments``: what is typed becomes an order with who and why, and what is stored is shown."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from typer.testing import CliRunner

from handlers.paypay import payment_cli, payment_desk
from handlers.paypay.payment_cli import payments_cli
from hub.errors import UsageError
from schemas.paypay import CancelOrder, PaymentDecided, PaymentReply, PaymentView, RefundOrder, RefundReply, RefundView

ID = UUID(int=7)
NOW = datetime(2026, 11, 21, tzinfo=UTC)
REFUND = RefundView(
    refund_id=UUID(int=8),
    payment_id=ID,
    merchant_refund_id="rf-1",
    amount_jpy=200,
    reason="came too late",
    status="REFUSED",
    result_code="UNACCEPTABLE_OP",
    requested_at=NOW,
    refunded_at=None,
)
VIEW = PaymentView(
    payment_id=ID,
    kind="code",
    merchant_payment_id="pay-1",
    paypay_payment_id="0900",
    member_id=None,
    amount_jpy=1_200,
    captured_jpy=1_200,
    refunded_jpy=0,
    booked_as="suspense",
    is_authorization=False,
    status="MANUAL",
    result_code="SUCCESS",
    requested_at=NOW,
    expires_at=None,
    completed_at=None,
    ended_at=None,
    troubles=("payment_taken_after_end",),
    refunds=(REFUND,),
)


@pytest.fixture
def orders(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The desk with one payment; what it was ordered to do."""
    given: list[Any] = []
    reply = PaymentReply(payment_id=ID, merchant_payment_id="pay-1", amount_jpy=1_200, status="CANCELING")
    refund = RefundReply(refund_id=ID, payment_id=ID, merchant_refund_id="rf-1", amount_jpy=200, status="NEW")
    answers: dict[str, Any] = {"look": None, "settle": "COMPLETED", "cancel": reply, "refund": refund}

    def ordering(name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        async def act(api: object, order: object) -> Any:
            given.append(order)
            return answers[name]

        return act

    async def payments(api: object, **asked: object) -> list[PaymentView]:
        given.append(asked)
        return [VIEW]

    async def show(api: object, payment_id: UUID) -> PaymentView:
        return VIEW

    def run(act: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
        return asyncio.run(act(SimpleNamespace()))

    for name in answers:
        monkeypatch.setattr(payment_desk, name, ordering(name))
    monkeypatch.setattr(payment_desk, "payments", payments)
    monkeypatch.setattr(payment_desk, "show", show)
    monkeypatch.setattr(payment_cli, "ask", run)
    monkeypatch.setattr(payment_cli, "order", run)
    monkeypatch.setenv("COLUMNS", "300")
    return given


def say(*words: str) -> str:
    result = CliRunner().invoke(payments_cli, [*words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_payments_are_listed_and_shown_to_people_and_programs(orders: list[Any]) -> None:
    listed, shown = say("list", "--troubled", "--limit", "5"), say("show", str(ID))

    for word in (str(ID), "1,200", "suspense", "MANUAL", "payment_taken_after_end"):
        assert word in listed, word
    for word in ("pay-1", "payment_taken_after_end", "came too late", "UNACCEPTABLE_OP"):
        assert word in shown, word
    assert orders == [{"status": None, "member": None, "is_in_trouble": True, "limit": 5}]
    assert json.loads(say("list", "--json"))[0]["troubles"] == ["payment_taken_after_end"]
    assert json.loads(say("show", str(ID), "--json"))["refunds"][0]["amount_jpy"] == 200


def test_every_order_names_who_and_why(orders: list[Any]) -> None:
    say("look", str(ID))
    say("settle", str(ID), "--as", "completed", "--note", "seen in the panel", "--by", "ann")
    say("cancel", str(ID), "--note", "the guest has left", "--by", "ann")
    say("refund", str(ID), "--reason", "came too late", "--amount", "200", "--by", "ann")

    looked, settled, cancelled, refunded = orders
    assert looked == ID
    assert settled == PaymentDecided(payment_id=ID, decision="completed", by="ann", note="seen in the panel")
    assert cancelled == CancelOrder(payment_id=ID, operator="ann", note="the guest has left")
    assert isinstance(refunded, RefundOrder)
    assert (refunded.amount_jpy, refunded.reason, refunded.operator) == (200, "came too late", "ann")
    assert refunded.idempotency_key.startswith("cli-")


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (("settle", str(ID), "--as", "paid", "--note", "n"), "--as"),
        (("settle", str(ID), "--as", "failed", "--note", " "), "note"),
        (("look", "pay-1"), "ID"),
    ],
)
def test_what_cannot_be_meant_is_refused(words: tuple[str, ...], wrong: str, orders: list[Any]) -> None:
    with pytest.raises(UsageError, match=wrong):
        say(*words)
    assert orders == []


async def test_an_unknown_state_is_told() -> None:
    with pytest.raises(UsageError, match="--status"):
        await payment_desk.payments(SimpleNamespace(), status="paid", member=None, limit=1)  # type: ignore[arg-type]
