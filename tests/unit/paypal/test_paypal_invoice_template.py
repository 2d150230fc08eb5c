"""The file with the texts of invoices: every mistake has its place, and only texts come from it, never the sum."""

from __future__ import annotations

from pathlib import Path

import pytest

from handlers.paypal.invoice_body import Facts, body_of, invoice_number, paypal_money
from handlers.paypal.invoice_template import InvoiceTemplate
from handlers.paypal.settings import PaypalSettings
from handlers.paypal.tables_invoices import PaypalInvoice
from hub.environment import Environment
from hub.errors import ConfigError
from hub.money import Money
from hub.settings import read_settings

PAYMENT = "6GR1339578830245H"


def row(amount: Money | None = None, custom_id: str | None = "user-42") -> PaypalInvoice:
    paid = amount or Money(500, "USD")
    return PaypalInvoice(
        payment_id=PAYMENT,
        invoice_number=invoice_number(PAYMENT),
        subscription_id="I-1",
        custom_id=custom_id,
        amount_minor=paid.amount_minor,
        currency=paid.currency,
        dated="2026-01-31",
    )


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("detail:\n  note: Thanks for {plan.nam}\n", "2:20", "did you mean 'plan.name'"),
        ("detail:\n  note: 'Thanks } a lot'\n", "2:17", "write }} for the character"),
        ("detail:\n  note: |\n    Dear {who},\n", "2:9", "unknown field {who}"),
        ("detail:\n  invoice_number: X-1\n", "2:3", "comes from the payment"),
        ("detail: { currency_code: USD }\n", "1:11", "comes from the payment"),
        ("items:\n  - name: x\n    unit_amount: {}\n", "3:5", "comes from the payment"),
        ("items: [{ quantity: '2' }]\n", "1:11", "comes from the payment"),
        ("amount: { value: '1.00' }\n", "1:1", "comes from the payment"),
        ("items: [{ name: a }, { name: b }]\n", "1:8", "expected a list of one"),
        ("items:\n  - tax: { name: VAT, percent: 5 }\n", "2:5", "tax_inclusive"),
        ("configuration: { tax_inclusive: 'yes' }\n", "1:33", "expected true or false"),
        ("primary_recipients:\n  - billing_info:\n      language: US\n", "3:17", "a language such as en-US"),
        ("invoicer:\n  logo_url: http://shop.example/logo.png\n", "2:13", "https://"),
        ("invoicer:\n  tax_id: 00123\n", "2:11", "put it into quotes"),
        ("detail:\n  memo: " + "x" * 501 + "\n", "2:9", "at most 500 characters, found 501"),
        ("detail:\n  nte: hello\n", "2:3", "did you mean 'note'"),
        ("detail:\n  note: a\n  note: b\n", "3:3", "note"),
        ("detail: [\n", "2:1", "expected"),
        ("- 1\n", "1:1", "expected names with values"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_column(text: str, place: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        InvoiceTemplate.read(text, file="invoice.yaml")

    assert f"invoice.yaml:{place}: " in str(caught.value)
    assert said in str(caught.value)


def test_a_hub_with_a_wrong_template_does_not_start(tmp_path: Path) -> None:
    file = tmp_path / "invoice.yaml"
    file.write_text("detail:\n  note: '{plan}'\n")
    environ = {"HUB_HOME": str(tmp_path), "HUB_PAYPAL_INVOICE_TEMPLATE": str(file)}

    with pytest.raises(ConfigError) as caught:
        read_settings(PaypalSettings, Environment(environ))
    assert f"{file}:2:10: detail.note: unknown field {{plan}}" in str(caught.value)

    with pytest.raises(ConfigError, match="cannot be read"):
        read_settings(PaypalSettings, Environment(environ | {"HUB_PAYPAL_INVOICE_TEMPLATE": str(tmp_path / "none")}))


def test_texts_are_filled_in_and_the_figures_are_the_payments() -> None:
    texts = InvoiceTemplate.read(
        "detail:\n  note: '{plan.name} for {custom_id}, {{paid}} {payment.amount} {payment.currency}'\n"
        "  payment_term: { term_type: NET_10 }\n"
        "invoicer: { business_name: The Shop, tax_id: '00123', logo_url: 'https://shop.example/logo.png' }\n"
        "primary_recipients: [{ billing_info: { additional_info: '{subscriber.surname}' } }]\n"
        "additional_recipients: [{ email_address: books@shop.example }]\n"
        "items: [{ description: '{plan.description}', tax: { name: VAT, percent: 8.5 } }]\n"
        "configuration: { tax_inclusive: true, template_id: TEMP-1 }\n"
    )
    facts = Facts("P-1", "Gold", "", "ann@example.com", "Ann", "Example")

    body = body_of(row(), facts, texts, seller="shop@example.com", brand="Brand", locale="zh-TW")

    assert body == {
        "detail": {
            "reference": "user-42",
            "invoice_date": "2026-01-31",
            "payment_term": {"term_type": "NET_10"},
            "note": "Gold for user-42, {paid} 5.00 USD",
            "invoice_number": f"S-{PAYMENT}",
            "currency_code": "USD",
        },
        "invoicer": {
            "email_address": "shop@example.com",
            "business_name": "The Shop",
            "tax_id": "00123",
            "logo_url": "https://shop.example/logo.png",
        },
        "primary_recipients": [
            {
                "billing_info": {
                    "name": {"given_name": "Ann", "surname": "Example"},
                    "email_address": "ann@example.com",
                    "language": "zh-TW",
                    "additional_info": "Example",
                }
            }
        ],
        "additional_recipients": [{"email_address": "books@shop.example"}],
        "items": [
            {
                "name": "Gold",
                "tax": {"name": "VAT", "percent": "8.5"},
                "quantity": "1",
                "unit_amount": {"currency_code": "USD", "value": "5.00"},
            }
        ],
        "configuration": {"tax_inclusive": True, "template_id": "TEMP-1"},
    }


def test_an_invoice_of_which_nothing_is_known_has_what_paypal_demands() -> None:
    body = body_of(row(custom_id=None), Facts(), InvoiceTemplate(), seller="", brand="", locale="en-US")

    assert set(body) == {"detail", "items"}
    assert body["items"][0]["name"] == "Subscription"


def test_a_filled_in_text_is_never_longer_than_paypal_takes() -> None:
    texts = InvoiceTemplate.read("detail: { memo: '{plan.description}', reference: '{custom_id}{custom_id}' }")
    facts = Facts(plan_name="N" * 300, plan_description="d" * 2_000)

    body = body_of(row(custom_id="c" * 127), facts, texts, seller="", brand="", locale="en-US")

    assert (len(body["detail"]["memo"]), len(body["detail"]["reference"])) == (500, 120)
    assert (len(body["items"][0]["name"]), len(body["items"][0]["description"])) == (200, 1_000)


@pytest.mark.parametrize(
    ("amount", "value"),
    [
        (Money(500, "USD"), "5.00"),
        (Money(30_000, "TWD"), "300"),
        (Money(300, "JPY"), "300"),
        (Money(100, "HUF"), "1"),
        # PayPal cannot write it: it stays as it is, and is refused there.
        (Money(150, "HUF"), "1.50"),
    ],
)
def test_amounts_are_written_as_paypal_does(amount: Money, value: str) -> None:
    assert paypal_money(amount) == {"currency_code": amount.currency, "value": value}


def test_a_number_is_always_the_same_and_never_too_long_for_the_search() -> None:
    assert invoice_number(PAYMENT) == f"S-{PAYMENT}"
    long = invoice_number("X" * 40)
    assert (len(long), long) == (25, invoice_number("X" * 40))
    assert long != invoice_number("X" * 41)
