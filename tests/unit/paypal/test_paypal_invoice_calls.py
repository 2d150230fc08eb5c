"""Each step of an invoice against a PayPal that fails in every way it can: what is concluded is what PayPal has."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from handlers.paypal.client import Answer, Call
from handlers.paypal.invoice_answers import drafted, invoice_id_of, is_number_taken, of_number, paid, refunded, sent
from handlers.paypal.invoice_body import invoice_number
from handlers.paypal.invoice_calls import InvoiceCalls
from handlers.paypal.office import office_of
from handlers.paypal.sandbox import sandbox_api
from handlers.paypal.sandbox_api import SandboxApi
from handlers.paypal.sandbox_invoicing import InvoicingApi
from handlers.paypal.settings import PaypalSettings
from handlers.paypal.tables import PaypalSubscription
from handlers.paypal.tables_invoices import PaypalInvoice
from hub.calls.outcome import Declined, NotFound, Outcome, Pending, Settled, Unknown
from hub.clock import SystemClock
from hub.environment import Environment
from hub.errors import RetryableError
from hub.settings import read_settings
from schemas.paypal_invoices import InvoiceDue, InvoiceStep

PAYMENT = "SALE0000000000001"
PLAN = "P-SANDBOX00000000000000001"
NOW = datetime(2026, 3, 1, 10, tzinfo=UTC)


@dataclass
class Invoicing:
    """One payment's invoice, and the PayPal that has it."""

    api: SandboxApi
    settings: PaypalSettings
    row: PaypalInvoice
    subscription: PaypalSubscription | None
    turn: int = 0
    more: dict[str, Any] = field(default_factory=dict)

    def calls(self, step: InvoiceStep = "draft", **more: Any) -> InvoiceCalls:
        due = InvoiceDue(payment_id=PAYMENT, step=step, turn=self.turn, **more)
        return InvoiceCalls(office_of(self.settings), self.settings, self.row, self.subscription, due, NOW)

    def misbehave(self, place: str, kind: str) -> None:
        with self.api.keeper.opened() as book:
            book.faults.append({"place": place, "kind": kind, "times": 1})

    def invoices(self) -> list[dict[str, Any]]:
        with self.api.keeper.opened() as book:
            return copy.deepcopy(list(book.invoices.values()))

    async def drafted(self) -> None:
        outcome = await self.calls().draft(None, "k")
        assert isinstance(outcome, Settled)
        self.row.invoice_id, self.row.has_recipient = outcome.data["invoice_id"], outcome.data["has_recipient"]

    async def sent(self) -> None:
        await self.drafted()
        assert await self.calls().send(None, "k") == Settled()

    async def recorded(self) -> None:
        await self.sent()
        assert await self.calls().record(None, "k") == Settled({"by_buyer": False})


@pytest.fixture
async def invoicing(tmp_path: Path) -> AsyncIterator[Invoicing]:
    names = {
        "HUB_SANDBOX": "1", "HUB_HOME": str(tmp_path), "HUB_PAYPAL_WEBHOOK_ID": "1WEBHOOK",
        "HUB_PAYPAL_CLIENT_ID": "client", "HUB_PAYPAL_SECRET": "secret",
    }  # fmt: skip
    api = Quiet.of(sandbox_api(read_settings(PaypalSettings, Environment(names)), SystemClock()))
    app = web.Application()
    app.add_routes([*api.routes(), *InvoicingApi(api).routes()])
    async with TestServer(app) as server:
        base = str(server.make_url("")).rstrip("/")
        settings = read_settings(PaypalSettings, Environment(names | {"HUB_PAYPAL_BASE_URL": base}))
        row = PaypalInvoice(
            payment_id=PAYMENT,
            invoice_number=invoice_number(PAYMENT),
            subscription_id="I-UNKNOWN",
            custom_id="user-42",
            amount_minor=999,
            currency="USD",
            dated="2026-03-01",
            has_recipient=True,
        )
        subscription = PaypalSubscription(subscription_id="I-UNKNOWN", email="ann@example.com", plan_id=PLAN)
        yield Invoicing(api, settings, row, subscription)
        await api.sent()


class Quiet(SandboxApi):
    """Tells nobody by webhook."""

    @classmethod
    def of(cls, api: SandboxApi) -> Quiet:
        return cls(api.keeper, api.postman, api.clock, api.client_id, api.secret)

    def send(self, body: dict[str, Any]) -> None:
        return


async def test_an_invoice_goes_from_its_draft_to_paid_with_one_mail(invoicing: Invoicing) -> None:
    await invoicing.recorded()

    (one,) = invoicing.invoices()
    assert (one["status"], one["mails"], one["detail"]["invoice_number"]) == ("MARKED_AS_PAID", 1, f"S-{PAYMENT}")
    assert one["items"][0]["name"] == "Plan 1"
    assert one["amount"] == {"currency_code": "USD", "value": "9.99"}
    assert PAYMENT in one["payments"]["transactions"][0]["note"]


@pytest.mark.parametrize(
    ("kind", "is_made"),
    [("cut_before", False), ("500", False), ("html", False), ("cut_after", True), ("500_after", True)],
)
async def test_a_lost_answer_is_looked_up_at_every_step(invoicing: Invoicing, kind: str, is_made: bool) -> None:
    invoicing.misbehave("draft", kind)
    assert isinstance(await invoicing.calls().draft(None, "k"), Unknown)
    assert isinstance(await invoicing.calls().draft_happened(None, "k"), Settled if is_made else NotFound)
    if not is_made:
        await invoicing.drafted()
    invoicing.row.invoice_id = invoicing.invoices()[0]["id"]

    invoicing.misbehave("send-invoice", kind)
    assert isinstance(await invoicing.calls().send(None, "k"), Unknown)
    happened = await invoicing.calls().send_happened(None, "k")
    # It may be sent at once: to send a sent one has no effect.
    assert happened == (Settled() if is_made else NotFound(may_repeat=True))
    assert await invoicing.calls().send(None, "k") == Settled()

    invoicing.misbehave("record-payment", kind)
    assert isinstance(await invoicing.calls().record(None, "k"), Unknown)
    # It may not, before nothing can be under way any more: two payments would be recorded.
    happened = await invoicing.calls().record_happened(None, "k")
    assert happened == (Settled({"by_buyer": False}) if is_made else NotFound())

    (one,) = invoicing.invoices()
    assert one["mails"] == 1


async def test_a_number_that_is_taken_is_looked_at(invoicing: Invoicing) -> None:
    invoicing.misbehave("draft", "duplicate")
    await invoicing.drafted()
    assert [one["id"] for one in invoicing.invoices()] == [invoicing.row.invoice_id]

    # PayPal knows the number, and its search does not find it yet: nobody knows which invoice it is.
    invoicing.misbehave("search-invoices", "stale")
    assert isinstance(await invoicing.calls().draft(None, "k"), Unknown)
    assert isinstance(await invoicing.calls().draft(None, "k"), Settled)

    # One that only looks like it is not it, and one of another sum is not ours.
    invoicing.row.invoice_number = invoicing.row.invoice_number[:-1]
    assert await invoicing.calls().draft_happened(None, "k") == NotFound()
    invoicing.row.invoice_number, invoicing.row.amount_minor = invoice_number(PAYMENT), 1
    assert await invoicing.calls().draft(None, "k") == Declined(
        "TOTAL_DIFFERS", {"invoice_id": invoicing.row.invoice_id, "has_recipient": True}
    )
    assert len(invoicing.invoices()) == 1


async def test_a_draft_that_paypal_does_not_show_at_once_may_have_been_made(
    invoicing: Invoicing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers with a link alone, and is too busy for the question what stands there."""

    def without_preference(*what: Any, prefer: str = "", **more: Any) -> Call:
        return Call(*what, **more)

    monkeypatch.setattr("handlers.paypal.invoice_calls.Call", without_preference)
    invoicing.misbehave("invoice", "429")

    assert isinstance(await invoicing.calls().draft(None, "k"), Unknown)

    assert len(invoicing.invoices()) == 1


async def test_a_person_who_lets_it_go_on_makes_no_second_one(invoicing: Invoicing) -> None:
    with invoicing.api.keeper.opened() as book:
        book.has_loose_numbers = True
    await invoicing.recorded()
    invoicing.turn = 1

    await invoicing.drafted()
    assert await invoicing.calls().record(None, "k2") == Settled({"by_buyer": False})

    (one,) = invoicing.invoices()
    assert len(one["payments"]["transactions"]) == 1


async def test_a_refusal_is_final_and_names_what_paypal_says(invoicing: Invoicing) -> None:
    refusing = replace(
        invoicing, settings=invoicing.settings.model_copy(update={"invoicer_email": "nobody@example.com"})
    )
    assert await refusing.calls().draft(None, "k") == Declined("USER_NOT_FOUND")

    await invoicing.drafted()
    assert await invoicing.calls().record(None, "k") == Declined("CANNOT_PROCESS_PAYMENTS")
    with invoicing.api.keeper.opened() as book:
        book.invoices.clear()
    # One word for what is gone, whichever way it was noticed: by it a person's retry knows that a draft must be made.
    assert await invoicing.calls().send_happened(None, "k") == Declined("INVOICE_NOT_FOUND")
    assert await invoicing.calls().send(None, "k") == Declined("INVOICE_NOT_FOUND")


async def test_without_an_address_nobody_is_mailed_and_the_invoice_is_made(invoicing: Invoicing) -> None:
    invoicing.subscription = None

    await invoicing.drafted()
    assert invoicing.row.has_recipient is False
    # Even where we believe that there is one.
    invoicing.row.has_recipient = True
    assert await invoicing.calls().send(None, "k") == Settled()

    (one,) = invoicing.invoices()
    assert (one["status"], one["mails"]) == ("SENT", 0)


async def test_what_cannot_be_read_beforehand_makes_nothing(invoicing: Invoicing) -> None:
    for place, kind in (("subscription", "500"), ("subscription", "html"), ("plans", "500")):
        invoicing.misbehave(place, kind)
        with pytest.raises(RetryableError):
            await invoicing.calls().draft(None, "k")
    assert invoicing.invoices() == []


async def test_an_invoice_of_a_later_day_waits_for_it(invoicing: Invoicing) -> None:
    invoicing.row.dated = "2999-01-01"
    await invoicing.drafted()

    assert isinstance(await invoicing.calls().send(None, "k"), Pending)
    assert isinstance(await invoicing.calls().send_happened(None, "k"), Pending)


async def test_the_mail_may_come_after_the_payment(invoicing: Invoicing) -> None:
    invoicing.settings = invoicing.settings.model_copy(update={"invoice_email": "after_payment"})
    await invoicing.recorded()
    assert invoicing.invoices()[0]["mails"] == 0

    assert await invoicing.calls("notify").notify(None, "k") == Settled()

    (one,) = invoicing.invoices()
    assert (one["mails"], one["status"], one["payments"]["paid_amount"]["value"]) == (1, "MARKED_AS_PAID", "9.99")


async def test_what_went_back_is_recorded_once_on_the_invoice(invoicing: Invoicing) -> None:
    await invoicing.recorded()
    first = invoicing.calls("refund", before_minor=0, amount_minor=400)
    assert await first.refund_happened(None, "k") == NotFound()
    invoicing.misbehave("record-refund", "cut_after")
    assert isinstance(await first.refund(None, "k"), Unknown)
    assert await first.refund_happened(None, "k") == Settled()

    rest = invoicing.calls("refund", before_minor=400, amount_minor=599)
    assert await rest.refund_happened(None, "k") == NotFound()
    assert await rest.refund(None, "k") == Settled()
    # More than was paid.
    assert await rest.refund(None, "k") == Declined("CANNOT_PROCESS_REFUNDS")

    (one,) = invoicing.invoices()
    assert (one["status"], one["refunds"]["refund_amount"]["value"]) == ("MARKED_AS_REFUNDED", "9.99")


OURS = PaypalInvoice(payment_id=PAYMENT, invoice_number="S-1", amount_minor=500, currency="USD")
FIVE = {"currency_code": "USD", "value": "5.00"}


def test_ids_are_found_in_each_form_of_the_answer() -> None:
    href = "https://api-m.sandbox.paypal.com/v2/invoicing/invoices/INV2-A-B?x=1"

    assert invoice_id_of({"rel": "self", "href": href}) == "INV2-A-B"
    assert invoice_id_of({"links": [{"rel": "send", "href": "x/y"}, {"rel": "self", "href": href}]}) == "INV2-A-B"
    assert invoice_id_of({"id": "INV2-C", "href": href}) == "INV2-C"
    strange: list[Any] = [None, {}, [], {"href": 3}]
    assert [invoice_id_of(body) for body in strange] == ["", "", "", ""]


@pytest.mark.parametrize(
    ("rows", "outcome"),
    [
        ([], NotFound()),
        (None, NotFound()),
        ([{"detail": {"invoice_number": "S-10"}}], NotFound()),
        ([{"id": "A", "status": "CANCELLED", "detail": {"invoice_number": "S-1"}}], Declined("INVOICE_CANCELLED")),
        (
            [{"id": id_, "status": "SENT", "detail": {"invoice_number": "S-1"}, "amount": FIVE} for id_ in "AB"],
            Declined("SEVERAL_INVOICES"),
        ),
        (
            [{"id": "A", "status": "PAID", "detail": {"invoice_number": "S-1"}, "amount": FIVE}],
            Settled({"invoice_id": "A", "has_recipient": True}),
        ),
    ],
)
def test_what_a_search_finds(rows: Any, outcome: Outcome | NotFound) -> None:
    assert of_number(OURS, rows) == outcome


@pytest.mark.parametrize(
    ("invoice", "outcome"),
    [
        ({"status": "SENT"}, NotFound()),
        ({"status": "PARTIALLY_PAID", "payments": {"transactions": [{"type": "PAYPAL"}]}}, NotFound()),
        ({"status": "MARKED_AS_PAID"}, Settled({"by_buyer": False})),
        ({"status": "PAID", "payments": {"transactions": [{"type": "PAYPAL"}]}}, Settled({"by_buyer": True})),
        (
            {"status": "PARTIALLY_PAID", "payments": {"transactions": [{"type": "EXTERNAL", "note": f"x {PAYMENT}"}]}},
            Settled({"by_buyer": False}),
        ),
        ({"status": "CANCELLED"}, Declined("INVOICE_CANCELLED")),
    ],
)
def test_what_tells_that_a_payment_is_recorded(invoice: dict[str, Any], outcome: Outcome | NotFound) -> None:
    assert paid(OURS, invoice) == outcome


def test_what_nobody_expected_is_not_taken_for_an_answer() -> None:
    assert isinstance(drafted(OURS, {"amount": FIVE}), Unknown)
    assert drafted(OURS, {"id": "A", "amount": {"currency_code": "EUR", "value": "5.00"}}) == Declined(
        "TOTAL_DIFFERS", {"invoice_id": "A", "has_recipient": False}
    )
    assert isinstance(sent({"status": "NEW_WORD"}), Unknown)
    over = {"refunds": {"refund_amount": {"currency_code": "USD", "value": "1.00"}}}
    assert refunded(OURS, over, before_minor=0, amount_minor=400) == Declined("REFUND_DIFFERS")
    assert isinstance(refunded(OURS, {"refunds": {"refund_amount": {}}}, before_minor=0, amount_minor=1), Unknown)
    assert refunded(OURS, {}, before_minor=0, amount_minor=1) == NotFound()


def test_only_a_refusal_can_tell_that_a_number_is_taken() -> None:
    def answer(status: int, issue: str) -> Answer:
        return Answer(status, {"name": "UNPROCESSABLE_ENTITY", "details": [{"issue": issue}]})

    assert is_number_taken(answer(422, "DUPLICATE_INVOICE_NUMBER"))
    assert is_number_taken(answer(409, "RESOURCE_ALREADY_EXISTS"))
    assert not is_number_taken(answer(422, "USER_NOT_FOUND"))
    assert not is_number_taken(answer(500, "DUPLICATE_INVOICE_NUMBER"))
