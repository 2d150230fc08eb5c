"""The invoice of each payment: one per sale, paid, whatever fails, repeats, races or is refused on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest

from handlers.paypal import invoice_desk
from handlers.paypal.invoice_calls import InvoiceCalls
from handlers.paypal.measures import measures
from handlers.paypal.sandbox_invoices import record_payment
from handlers.paypal.tables import PaypalEventRecord
from hub.calls.outcome import Outcome
from hub.errors import RefusedCommand
from hub.ownership.holding import DELIVER
from hub.store import tables as t
from tests.scenarios.paypal import Paypal
from tests.scenarios.paypal_invoices import PAID_MINOR, Sales, invoicing
from tests.support.running import running, until

ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For what no database decides: what the two do differently, the other tests show."""
ON_POSTGRESQL = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
UNDER_WAY_S = 5.0
"""For how long what was lost may still happen: longer than the played PayPal is late."""


@pytest.fixture(autouse=True)
def _quick_certainty() -> Iterator[None]:
    """Two minutes until a lost request cannot be under way any more are nothing to wait for here."""
    with patch("handlers.paypal.invoicing.STEP_S_MAX", UNDER_WAY_S), patch("hub.calls.record.UNDER_WAY_S", 0.0):
        yield


@pytest.fixture
async def sales(database_url: str, tmp_path: Path) -> AsyncIterator[Sales]:
    async with invoicing(tmp_path, database_url) as sales:
        yield sales


async def test_each_sale_has_one_invoice_that_is_paid_however_often_it_is_announced(sales: Sales) -> None:
    first, held, one_off = sales.sale(), sales.sale("user-43", is_held=True), sales.sale("user-44")
    del one_off["resource"]["billing_agreement_id"]
    pending, denied = sales.sale(state="pending"), sales.sale(state="denied")

    await asyncio.gather(*(sales.tell(event) for event in (first, sales.again(first), first, held)))
    await sales.tell(one_off, pending, denied, sales.again(held))
    row, other = await sales.come_to("paid", "paid")

    assert (row.payment_id, row.amount_minor, row.custom_id) == (first["resource"]["id"], PAID_MINOR, "user-42")
    assert other.payment_id == held["resource"]["id"]
    assert [(one["status"], one["mails"], one["amount"]["value"]) for one in sales.at_paypal()] == [
        ("MARKED_AS_PAID", 1, "9.99")
    ] * 2
    assert {one["primary_recipients"][0]["billing_info"]["email_address"] for one in sales.at_paypal()} == {
        "user-42@example.com",
        "user-43@example.com",
    }
    view = await sales.view(first)
    assert (view["invoice"]["invoice_number"], view["invoice"]["state"]) == (f"S-{row.payment_id}", "paid")
    assert view["invoice"]["invoice_id"] == row.invoice_id
    assert sorted(await sales.told()) == sorted((one.payment_id, "paypal.invoice.paid") for one in (row, other))

    # PayPal tells of our own invoices, too: they are recorded, and start nothing.
    await sales.sandbox.sent()
    await sales.paypal.settled()
    records = await sales.paypal.entities(PaypalEventRecord)
    assert [one.outcome for one in records if one.event_type == "INVOICING.INVOICE.PAID"] == ["recorded"] * 2
    assert len(await sales.rows()) == 2
    assert await sales.paypal.outcomes("plan-paypal-invoice") == [("done", "invoice_due")] * 2


@ON_SQLITE
async def test_whatever_fails_on_the_way_every_sale_has_one_invoice_with_one_payment(sales: Sales) -> None:
    # Nobody has promised that PayPal refuses a number that is taken.
    with sales.sandbox.keeper.opened() as book:
        book.has_loose_numbers = True
    ways = {
        "draft": ["cut_after", "500_after", "late", "cut_before", "429"],
        "search-invoices": ["500"],
        "send-invoice": ["cut_after", "500", "late", "duplicate"],
        "record-payment": ["cut_after", "500_after", "late", "cut_before", "duplicate"],
        "invoice": ["500"],
        "subscription": ["500"],
    }
    for place, kinds in ways.items():
        for kind in kinds:
            sales.misbehave(place, kind)
    told = [sales.sale(f"user-{number}") for number in range(8)]

    await asyncio.gather(*(sales.tell(event) for event in told))
    rows = await sales.come_to(*["paid"] * len(told))
    await sales.sandbox.sent()

    found = sales.at_paypal()
    assert sorted(one["id"] for one in found) == sorted(row.invoice_id or "" for row in rows)
    assert [(one["status"], one["mails"], len(one["payments"]["transactions"])) for one in found] == [
        ("MARKED_AS_PAID", 1, 1)
    ] * len(told)
    with sales.sandbox.keeper.opened() as book:
        assert book.faults == [], "each way to fail was met"


@ON_SQLITE
async def test_what_paypal_refuses_waits_for_a_person_who_lets_it_go_on_or_gives_it_up(
    database_url: str, tmp_path: Path
) -> None:
    async with invoicing(tmp_path, database_url, HUB_PAYPAL_INVOICER_EMAIL="nobody@example.com") as sales:
        api, event = sales.paypal.running.hub.api, sales.sale()
        await sales.tell(event)
        row = await sales.stand_still()
        payment = row.payment_id
        await sales.paypal.settled()

        assert (row.state, row.issue, row.issue_step) == ("none", "USER_NOT_FOUND", "draft")
        assert (await sales.view(event))["invoice"]["issue"] == "USER_NOT_FOUND"
        assert [one.payment_id for one in await invoice_desk.list_invoices(api, stuck=True)] == [payment]
        assert [(one.outcome, one.state) for one in await sales.paypal.running.rows(t.reviews)] == [
            ("invoice_refused", "open")
        ]

        with patch("handlers.paypal.sandbox_invoices.UNKNOWN_SELLER", "known-now@"):
            await invoice_desk.retry(api, payment, by="ann", note="the address is confirmed")
            (row,) = await sales.come_to("paid")
        assert (row.issue, row.turn, row.decided_by, row.decided_note) == (None, 1, "ann", "the address is confirmed")
        assert [one.state for one in await sales.paypal.running.rows(t.reviews)] == ["resolved"]
        with pytest.raises(RefusedCommand, match="invoice_is_over"):
            await invoice_desk.waive(api, payment, by="ann", note="too late")

        other = sales.sale("user-43")
        await sales.tell(other)
        await until(lambda: _is_stuck(sales))
        await invoice_desk.waive(api, other["resource"]["id"], by="ben", note="made by hand")
        await sales.come_to("paid", "waived")
        with pytest.raises(RefusedCommand, match="invoice_not_found"):
            await invoice_desk.retry(api, "NONE", by="ann", note="-")

        assert len(sales.at_paypal()) == 1
        assert [kind for _, kind in await sales.told()] == [
            "paypal.invoice.failed",
            "paypal.invoice.paid",
            "paypal.invoice.failed",
            "paypal.invoice.waived",
        ]


async def _is_stuck(sales: Sales) -> bool:
    return any(row.issue for row in await sales.rows())


@ON_SQLITE
async def test_a_step_that_was_parked_is_looked_up_when_a_person_lets_it_go_on(
    database_url: str, tmp_path: Path
) -> None:
    async with invoicing(tmp_path, database_url, attempts=1) as sales:
        api = sales.paypal.running.hub.api
        sales.misbehave("draft", "cut_after")
        event = sales.sale()
        await sales.tell(event)
        payment = event["resource"]["id"]
        await until(lambda: invoice_desk.parked_steps(api, payment))

        await invoice_desk.retry(api, payment, by="ann", note="PayPal is back")
        await sales.come_to("paid")

        assert len(sales.at_paypal()) == 1
        with pytest.raises(RefusedCommand, match="invoice_is_over"):
            await invoice_desk.retry(api, payment, by="ann", note="once more")


@ON_SQLITE
async def test_a_draft_that_was_deleted_at_paypal_is_measured_as_stuck_and_made_again_when_a_person_says_so(
    sales: Sales,
) -> None:
    api, event = sales.paypal.running.hub.api, sales.sale()
    deleted: list[str] = []
    really_send = InvoiceCalls.send

    async def send(self: InvoiceCalls, request: object, key: str) -> Outcome:
        if not deleted:
            with sales.sandbox.keeper.opened() as book:
                deleted.extend(book.invoices)
                book.invoices.clear()
        return await really_send(self, request, key)

    async def figures() -> dict[str, float]:
        found = [sample for family in await measures(api) for sample in family.samples]
        return {"/".join((one.name, *one.labels.values())): one.value for one in found}

    with patch.object(InvoiceCalls, "send", send):
        await sales.tell(event)
        row = await sales.stand_still()
    stuck = await figures()
    await invoice_desk.retry(api, row.payment_id, by="ann", note="it was deleted by mistake")
    (again,) = await sales.come_to("paid")

    assert (row.state, row.issue, row.issue_step) == ("drafted", "INVOICE_NOT_FOUND", "send")
    assert (stuck["paypal_invoices_stuck"], stuck["paypal_invoices_open/drafted"]) == (1, 1)
    assert (stuck["paypal_invoices_open/none"], stuck["paypal_invoices_open/sent"]) == (0, 0)
    age_s = (api.clock.now() - row.created_at).total_seconds()
    assert 0 < stuck["paypal_invoice_oldest_seconds"] <= age_s
    assert await figures() == dict.fromkeys(stuck, 0)
    assert [one["id"] for one in sales.at_paypal()] == [again.invoice_id]
    assert deleted == [row.invoice_id] != [again.invoice_id]


@ON_SQLITE
async def test_a_refund_before_the_invoice_was_sent_is_recorded_once_it_is_paid_and_the_mail_comes_then(
    database_url: str, tmp_path: Path
) -> None:
    async with invoicing(
        tmp_path, database_url, HUB_PAYPAL_INVOICE_REFUND="1", HUB_PAYPAL_INVOICE_EMAIL="after_payment"
    ) as sales:
        # It is not sent before PayPal has time again.
        sales.misbehave("send-invoice", "429", times=100_000)
        event = sales.sale()
        await sales.tell(event)
        await until(sales.rows)
        await sales.tell(sales.refund(event, "4.00"))

        async def is_noted() -> bool:
            return [row.refunded_minor for row in await sales.rows()] == [400]

        async def recorded() -> int:
            outcomes = [outcome for _, outcome in await sales.paypal.outcomes("advance-paypal-invoice")]
            return outcomes.count("invoice_refund_recorded")

        async def is_recorded() -> bool:
            return await recorded() == 1

        async def are_recorded() -> bool:
            return await recorded() == 2

        await until(is_noted)
        assert [row.state for row in await sales.rows()] != ["paid"]
        sales.behave()
        await until(is_recorded)
        await sales.tell(sales.refund(event, "5.99"))
        await until(are_recorded)
        await sales.paypal.settled()

        (one,) = sales.at_paypal()
        assert (one["status"], [float(back["amount"]["value"]) for back in one["refunds"]["transactions"]]) == (
            "MARKED_AS_REFUNDED",
            [4.0, 5.99],
        )
        assert one["mails"] == 1
        (row,) = await sales.rows()
        assert (row.state, row.refunded_minor) == ("paid", PAID_MINOR)


@ON_SQLITE
async def test_a_sale_of_an_unknown_subscription_has_its_invoice_and_a_refund_leaves_it_alone(sales: Sales) -> None:
    stranger, back = sales.sale(), sales.sale("user-43")
    stranger["resource"]["billing_agreement_id"] = "I-NEVERHEARDOF"

    await sales.tell(stranger, back, sales.refund(back))
    await sales.come_to("paid", "paid")

    found = {row["detail"]["invoice_number"]: row for row in sales.at_paypal()}
    unmailed, refunded = (found[f"S-{event['resource']['id']}"] for event in (stranger, back))
    assert (unmailed["status"], unmailed["mails"], "primary_recipients" in unmailed) == ("MARKED_AS_PAID", 0, False)
    assert (refunded["status"], refunded["mails"], "refunds" in refunded) == ("MARKED_AS_PAID", 1, False)


@ON_SQLITE
async def test_a_buyer_who_pays_the_invoice_as_well_is_shown_to_a_person(database_url: str, tmp_path: Path) -> None:
    async with invoicing(tmp_path, database_url) as sales:
        sales.misbehave("record-payment", "429", times=100_000)
        await sales.tell(sales.sale())

        def is_sent() -> bool:
            return any(one["status"] == "SENT" for one in sales.at_paypal())

        await until(is_sent)
        with sales.sandbox.keeper.opened() as book:
            (one,) = book.invoices.values()
            record_payment(book, one, {"method": "PAYPAL"}, kind="PAYPAL")
        sales.behave()
        await sales.come_to("paid")

        assert [row.outcome for row in await sales.paypal.running.rows(t.reviews)] == ["invoice_paid_twice"]


@ON_POSTGRESQL
async def test_two_hubs_that_race_for_the_same_sales_make_one_invoice_each(database_url: str, tmp_path: Path) -> None:
    async with invoicing(tmp_path, database_url) as sales:
        with sales.sandbox.keeper.opened() as book:
            book.has_loose_numbers = True
        for kind in ("cut_after", "500_after", "429"):
            sales.misbehave("*", kind)
        async with running(sales.environ) as other:
            beside = replace(sales, paypal=Paypal(other, sales.paypal.authority))
            hubs = (sales.paypal.running.hub, other.hub)
            await until(lambda: all(hub.owner and hub.owner.owned(DELIVER) for hub in hubs))
            events = [sales.sale(f"user-{number}") for number in range(6)]
            told = [one for event in events for one in (event, sales.again(event))]

            await asyncio.gather(*(hub.tell(event) for event in told for hub in (sales, beside)))
            rows = await sales.come_to(*["paid"] * len(events))

        assert sorted(one["id"] for one in sales.at_paypal()) == sorted(row.invoice_id or "" for row in rows)
        assert {len(one["payments"]["transactions"]) for one in sales.at_paypal()} == {1}
