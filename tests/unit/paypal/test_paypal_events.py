"""What is read out of PayPal's bodies, both generations of them, and out of what is none."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from handlers.paypal.events import read_event
from handlers.paypal.processing import read_verified
from hub.jsonbody import parse_json
from schemas.paypal import WebhookVerified
from tests.support.running import PROJECT

DATA = PROJECT / "tests/data/paypal"
FILES: list[dict[str, Any]] = json.loads((DATA / "index.json").read_bytes())["files"]


@pytest.mark.parametrize("one", FILES, ids=lambda one: one["file"])
def test_a_published_body_says_what_it_should(one: dict[str, Any]) -> None:
    event = read_event(parse_json((DATA / one["file"]).read_bytes()))

    assert (event.id, event.type) == (one["event_id"], one["event_type"])
    assert {
        "subscription_id": event.subscription_id,
        "custom_id": event.custom_id,
        "amount": f"{event.amount.decimal:f}" if event.amount else None,
        "currency": event.amount.currency if event.amount else None,
        "payment_id": event.payment_id,
        "payment_complete": event.is_payment_complete,
        "subscription_status": event.status,
        "refund_of_payment_id": event.refund_of,
    } == one["expected"]


def test_a_body_of_any_shape_is_read_and_says_little() -> None:
    strange: list[dict[str, Any]] = [
        {},
        {"event_type": 5, "id": [], "resource": "x"},
        {"event_type": "PAYMENT.SALE.COMPLETED", "resource": {"amount": {"total": 5.0, "currency": "USD"}}},
        {"event_type": "PAYMENT.SALE.COMPLETED", "resource": {"amount": {"total": "1e3", "currency": "USD"}}},
        {"event_type": "PAYMENT.SALE.COMPLETED", "resource": {"amount": {"total": "5.00", "currency": "XXQ"}}},
        {"event_type": "PAYMENT.SALE.REFUNDED", "resource": {"amount": None, "refund_from_transaction_fee": []}},
        {"event_type": "BILLING.SUBSCRIPTION.ACTIVATED", "resource": {"id": "x" * 128, "update_time": "2018-19-12"}},
        {"event_type": "BILLING.SUBSCRIPTION.ACTIVATED", "resource": {"subscriber": ["a"], "custom_id": ""}},
    ]

    for body in strange:
        event = read_event(body, b"bytes")
        assert (event.amount, event.subscription_id, event.custom_id, event.changed_at) == (None, None, None, None)
        assert event.id.startswith("sha256:")


def test_amounts_are_exact_and_a_reversal_s_is_counted_up() -> None:
    def amount(event_type: str, total: str, currency: str) -> Any:
        resource = {"amount": {"total": total, "currency": currency}}
        return read_event({"event_type": event_type, "resource": resource}).amount

    assert amount("PAYMENT.SALE.COMPLETED", "14.9", "USD").amount_minor == 1490
    assert amount("PAYMENT.SALE.COMPLETED", "500", "JPY").amount_minor == 500
    assert amount("PAYMENT.SALE.COMPLETED", "300", "TWD").amount_minor == 30_000
    assert amount("PAYMENT.SALE.REVERSED", "-0.49", "USD").amount_minor == 49


def test_a_refund_may_name_its_sale_in_a_link_and_no_other_address() -> None:
    def refund_of(href: object, rel: str = "sale") -> Any:
        resource = {"id": "R1", "links": [{"rel": "self", "href": "x"}, {"rel": rel, "href": href}]}
        return read_event({"event_type": "PAYMENT.SALE.REVERSED", "resource": resource}).refund_of

    assert refund_of("https://api.paypal.com/v1/payments/sale/9T0916710M1105906") == "9T0916710M1105906"
    others = ["https://api.paypal.com/v1/payments/sale/", "/v1/payments/sale/A/refund", "x", 5, "/v1/payments/sale/A\n"]
    assert [refund_of(one) for one in others] == [None] * len(others)
    assert refund_of("/v1/payments/sale/A", rel="self") is None


def test_an_event_keeps_the_id_that_was_claimed_and_orders_by_arrival_where_paypal_names_no_time() -> None:
    received_at = datetime(2026, 3, 1, 10, tzinfo=UTC)
    verified = WebhookVerified(
        webhook_event_id=UUID(int=1),
        account="paypal-eu",
        verdict="valid",
        received_at=received_at,
        transmission_id="t",
        event_id="sha256:of the bytes",
        event_type="BILLING.SUBSCRIPTION.SUSPENDED",
        event={"event_type": "BILLING.SUBSCRIPTION.SUSPENDED", "resource": {"id": "I-1", "state": "Suspended"}},
    )

    event = read_verified(verified)

    assert (event.id, event.account, event.changed_at) == ("sha256:of the bytes", "paypal-eu", received_at)
