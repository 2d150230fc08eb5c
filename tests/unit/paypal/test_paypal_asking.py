"""What PayPal's lists say, read whole or not at all, and where they and the books differ."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from handlers.paypal.asking import PAGE_SIZE, RefusedByPaypalError, Transaction, past_events, show, transactions
from handlers.paypal.client import Answer, Call
from handlers.paypal.reconciling import Booked, Window, compare
from hub.money import Money
from tests.support.running import PROJECT

EXAMPLES: dict[str, Any] = json.loads((PROJECT / "tests/data/paypal/api_examples.json").read_bytes())
NOW = datetime(2026, 3, 1, 10, tzinfo=UTC)
DAY = timedelta(days=1)


class Api:
    """Answers one after the other, and remembers what it was asked."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[Call] = []

    async def ask(self, call: Call) -> Answer:
        self.asked.append(call)
        return self.answers.pop(0)


async def test_a_subscription_is_shown_absent_or_not_readable() -> None:
    example = EXAMPLES["subscription_get_200"]["body"]
    shown = await show(Api(Answer(200, example)).ask, "I-0HNJGFKLTLMP")
    assert shown is not None
    assert (shown.status, shown.custom_id) == ("ACTIVE", "user-0099")

    api = Api(Answer(404, None))
    assert await show(api.ask, "I-1/../x") is None
    assert api.asked[0].path == "/v1/billing/subscriptions/I-1%2F..%2Fx"
    for answer in (Answer(200, example), Answer(200, None), Answer(500, None)):
        with pytest.raises(RefusedByPaypalError):
            await show(Api(answer).ask, "I-ANOTHER")


def listed(status: object, value: str = "9.99", *, id_: str = "S1", fee: str | None = "0.74") -> dict[str, Any]:
    amounts: dict[str, Any] = {"gross_amount": {"value": value, "currency_code": "USD"}}
    if fee is not None:
        amounts["fee_amount"] = {"value": fee, "currency_code": "USD"}
    return {"id": id_, "status": status, "amount_with_breakdown": amounts, "time": "2026-03-01T09:00:00Z"}


async def asked(*rows: object, **more: object) -> Sequence[Transaction]:
    return await transactions(Api(Answer(200, {"transactions": list(rows), **more})).ask, "I-1", NOW - DAY, NOW)


async def test_a_list_of_payments_is_read_whole_or_not_at_all() -> None:
    (one,) = await asked(listed("COMPLETED", fee="-0.74"))
    assert (one.payment_id, one.gross.amount_minor, one.fee) == ("S1", 999, Money(74, "USD"))
    assert await transactions(Api(Answer(404, None)).ask, "I-1", NOW, NOW) == []

    for row in (
        listed("NEW"),
        listed(5),
        listed("COMPLETED", "9.999"),
        {"id": "S1"},
        "text",
        listed("PENDING", id_=""),
    ):
        with pytest.raises(RefusedByPaypalError):
            await asked(row)
    with pytest.raises(RefusedByPaypalError, match="shorter"):
        await asked(listed("COMPLETED"), total_pages=2)


def body(number: int, second: int) -> dict[str, Any]:
    return {"id": f"WH-{number}", "event_type": "X", "create_time": f"2026-03-01T09:00:{second:02d}Z"}


async def test_past_events_are_read_page_by_page_by_their_time_and_each_once() -> None:
    first = [body(number, 59 if number < 200 else 30) for number in range(PAGE_SIZE)]
    second = [*first[200:], *(body(number, 10) for number in range(400, 410))]
    api = Api(Answer(200, {"events": first}), Answer(200, {"events": second}))

    found = await past_events(api.ask, NOW - DAY, NOW)

    assert len(found) == PAGE_SIZE + 10
    assert [call.query["end_time"] for call in api.asked] == ["2026-03-01T10:00:00Z", "2026-03-01T09:00:30Z"]


@pytest.mark.parametrize("events", [[body(number, 5) for number in range(PAGE_SIZE)], [{"id": "x"}] * PAGE_SIZE, None])
async def test_a_list_of_events_that_does_not_go_on_is_no_list(events: object) -> None:
    answer = Answer(200, {"events": events})

    with pytest.raises(RefusedByPaypalError):
        await past_events(Api(answer, answer, answer).ask, NOW - DAY, NOW)


def usd(minor: int) -> Money:
    return Money(minor, "USD")


def had(state: str = "completed", gross: int | None = 999, fee: int | None = 74, back: int = 0) -> Booked:
    return Booked(
        heard_at=NOW,
        payment_id="S1",
        state=state,
        gross=usd(gross) if gross is not None else None,
        fee=usd(fee) if fee is not None else None,
        refunded_minor=back,
    )


@pytest.mark.parametrize(
    ("status", "booked", "kinds"),
    [
        ("COMPLETED", had(), []),
        ("COMPLETED", had(gross=998), ["another_amount"]),
        ("COMPLETED", had(fee=None), ["another_fee"]),
        ("COMPLETED", had(fee=75), ["another_fee"]),
        ("COMPLETED", had(back=1), ["refund_not_at_paypal"]),
        ("COMPLETED", had("pending", gross=None), ["payment_missing"]),
        ("COMPLETED", None, ["payment_missing"]),
        ("REFUNDED", None, ["payment_missing", "refund_missing"]),
        ("REFUNDED", had("partially_refunded", back=998), ["refund_missing"]),
        ("REFUNDED", had("refunded", back=999), []),
        ("PARTIALLY_REFUNDED", had(), ["refund_missing"]),
        ("PARTIALLY_REFUNDED", had("partially_refunded", back=1), []),
        ("PENDING", had("pending", gross=None), []),
        ("PENDING", None, ["another_state"]),
        ("DECLINED", had("pending", gross=None), ["another_state"]),
        ("DECLINED", had("denied", gross=None), []),
    ],
)
async def test_where_a_payment_differs(status: str, booked: Booked | None, kinds: list[str]) -> None:
    there = await asked(listed(status))
    here: Mapping[str, Booked] = {"S1": booked} if booked is not None else {}

    assert [kind for kind, _, _ in compare(there, here, Window(since=NOW - DAY, until=NOW))] == kinds
    # What PayPal lists of earlier days only explains what the hub has.
    assert compare(there, here, Window(since=NOW, until=NOW)) == []


def test_what_only_the_hub_has_is_told_when_it_is_booked() -> None:
    window = Window(since=NOW - DAY, until=NOW)

    assert [kind for kind, _, _ in compare([], {"S1": had()}, window)] == ["not_at_paypal"]
    assert compare([], {"S1": had("pending", gross=None)}, window) == []
    # PayPal was asked about one day: last month's payment cannot be in its list.
    assert compare([], {"S1": replace(had(), heard_at=NOW - 30 * DAY)}, window) == []
