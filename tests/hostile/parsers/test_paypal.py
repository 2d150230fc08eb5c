"""What PayPal sends and answers, and what strangers send in its name: headers, certificates, events, answers."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from handlers.paypal.asking import RefusedByPaypalError, past_events, show, transactions
from handlers.paypal.cert_url import CERT_HOSTS, cert_url_problem
from handlers.paypal.client import Answer, Call
from handlers.paypal.cooling import RETRY_AFTER_S_MAX, Cooling
from handlers.paypal.events import ID_CHARS_MAX, PaypalEvent, is_id, read_event, said
from handlers.paypal.invoice_answers import invoice_id_of
from handlers.paypal.settings import Environment
from handlers.paypal.transmission import REQUIRED, NotSignedError, Transmission
from handlers.paypal.trust import Trust, UnknownIssuerError, WrongCertificateError, read_certificates
from handlers.paypal.verifying import Believed
from hub.errors import UnreadableError
from hub.jsonbody import parse_json
from hub.money import MONEY_MINOR_MAX, Money
from tests.hostile.parsers.inputs import (
    DATA,
    ODD_TEXTS,
    expect,
    fuzz,
    is_storable,
    json_file,
    mutated,
    mutated_json,
    mutated_text,
    odd_texts,
    paypal_events,
)

VECTORS = DATA / "paypal/signature_vector"
SUITE: dict[str, Any] = json.loads((VECTORS / "cases.json").read_text())
CASE: dict[str, Any] = next(case for case in SUITE["cases"] if case["name"] == "valid_sandbox")
HEADERS = {name.lower(): value for name, value in CASE["headers"].items()}
BODY = (VECTORS / CASE["body_file"]).read_bytes()
PEMS = [file.read_bytes() for file in sorted((VECTORS / "certs").iterdir())]
LEAF = (VECTORS / "certs/TEST_ONLY_leaf_sandbox.pem").read_bytes()
DERS = [base64.b64decode(b"".join(pem.splitlines()[1:-1])) for pem in PEMS if pem.startswith(b"-----BEGIN CERT")]
TRUST = Trust.of(
    [
        *read_certificates((VECTORS / SUITE["trust_anchor"]).read_bytes()),
        *read_certificates((VECTORS / SUITE["known_intermediates"][0]).read_bytes()),
    ]
)
RECEIVED = datetime.fromisoformat(CASE["received_at"])
BELIEVED = Believed("sandbox", (CASE["config"]["webhook_id"],), TRUST)
EXAMPLES: dict[str, Any] = json_file("paypal/api_examples.json")
TIMES = {"create_time": "2026-01-31T09:30:00Z", "time": "2026-01-31T09:30:00Z"}
USD = {"currency_code": "USD", "value": "10.00"}
TRANSACTION = {
    "id": "T1",
    "status": "COMPLETED",
    "amount_with_breakdown": {"gross_amount": USD, "fee_amount": USD},
    **TIMES,
}
ANSWERS = [
    *EXAMPLES.values(),
    {"transactions": [TRANSACTION]},
    {"events": paypal_events()},
    {"id": "I-1", "status": "ACTIVE"},
]


@fuzz(40)
@given(
    st.sampled_from(REQUIRED), odd_texts | mutated_text(list(HEADERS.values())), mutated([LEAF, *PEMS]), st.booleans()
)
def test_nobody_is_believed_but_the_signer_of_these_bytes(header: str, value: str, pem: bytes, is_ours: bool) -> None:
    headers = {**HEADERS, header: value}
    try:
        transmission = Transmission.read(headers, BODY)
        BELIEVED.signer_environment(transmission)
    except NotSignedError as error:
        expect(len(str(error)) < 200)
        return
    judgement = BELIEVED.judge(transmission, LEAF if is_ours else pem, RECEIVED)

    # Base64 has one spelling only where its last bits are zero, so another text may be the same signature.
    is_same = {**headers, "paypal-transmission-sig": ""} == {
        **HEADERS,
        "paypal-transmission-sig": "",
    } or header == "paypal-cert-url"
    is_same = is_same and transmission.signature() == base64.b64decode(HEADERS["paypal-transmission-sig"])
    assert judgement.verdict != "valid" or is_same
    assert judgement.verdict in ("valid", "invalid", "undecided")


@pytest.mark.parametrize("header", REQUIRED)
@pytest.mark.parametrize("blank", ["\u00a0", "\u3000 ", "\u2003"])
def test_a_header_of_blanks_is_a_missing_one_so_that_each_delivery_has_its_identity(header: str, blank: str) -> None:
    with pytest.raises(NotSignedError, match=header):
        Transmission.read({**HEADERS, header: blank}, BODY)


def test_a_certificate_whose_names_cannot_be_read_is_refused() -> None:
    [leaf] = x509.load_pem_x509_certificates(LEAF)
    name = leaf.subject.public_bytes()
    der = leaf.public_bytes(Encoding.DER).replace(name, name[:11] + b"\xfc" + name[12:])

    with pytest.raises(WrongCertificateError, match="names cannot be read"):
        TRUST.check([x509.load_der_x509_certificate(der)], "sandbox", RECEIVED)


# A part of a name that is longer than any may be is warned of, and judged all the same.
@pytest.mark.filterwarnings("ignore:Attribute's length")
@fuzz(40)
@given(mutated(DERS), mutated(PEMS), st.booleans())
def test_any_certificate_is_read_and_judged_or_refused(der: bytes, pem: bytes, is_der: bool) -> None:
    if is_der:
        pem = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"
    try:
        certificates = read_certificates(pem)
        TRUST.check(certificates, "sandbox", RECEIVED)
    except (UnknownIssuerError, WrongCertificateError):
        return

    judgement = BELIEVED.judge(replace(Transmission.read(HEADERS, BODY), body=b"another"), pem, RECEIVED)
    assert judgement.verdict == "invalid"


@fuzz(40)
@given(
    mutated_text([HEADERS["paypal-cert-url"], "https://api.paypal.com:443/v1/notifications/certs/CERT-1"]),
    st.sampled_from(("live", "sandbox")),
)
def test_an_address_that_may_be_fetched_leads_to_paypal_whoever_reads_it(url: str, environment: Environment) -> None:
    if cert_url_problem(url, environment) is not None:
        return
    parts = urlsplit(url)

    assert url.isascii()
    assert url.isprintable()
    assert parts.hostname in CERT_HOSTS[environment]
    assert (parts.scheme, parts.port or 443, parts.username, parts.query, parts.fragment) == (
        "https",
        443,
        None,
        "",
        "",
    )
    assert ".." not in parts.path


@fuzz(40)
@given(mutated_json([*paypal_events(), [], "text", 7, None]))
def test_an_event_is_read_into_what_every_column_holds(body: bytes) -> None:
    try:
        data = parse_json(body)
    except UnreadableError:
        return
    found = read_event(data, body)

    assert isinstance(said(found), Mapping)
    texts = [getattr(found, name) for name in PaypalEvent.__dataclass_fields__ if name not in ("resource", "email")]
    assert all(is_storable(text) and 0 < len(text) <= ID_CHARS_MAX for text in texts if isinstance(text, str))
    for amount in (found.amount, found.fee):
        assert amount is None or -MONEY_MINOR_MAX <= amount.amount_minor <= MONEY_MINOR_MAX
        assert amount is None or Money.parse(amount.decimal, amount.currency) == amount
    assert found.changed_at is None or found.changed_at.tzinfo is not None
    assert not found.is_payment_complete or (found.amount is not None and found.amount.amount_minor > 0)


def _answer(body: bytes) -> Answer | None:
    try:
        data = parse_json(body)
    except UnreadableError:
        return None
    return Answer(200, data, "")


@fuzz(40)
@given(mutated_json(ANSWERS))
async def test_an_answer_of_the_api_is_read_or_decides_nothing(body: bytes) -> None:
    answer = _answer(body)
    if answer is None:
        return

    async def ask(_: Call) -> Answer:
        return answer

    for question in (
        show(ask, "I-1"),
        transactions(ask, "I-1", RECEIVED, RECEIVED),
        past_events(ask, RECEIVED, RECEIVED),
    ):
        try:
            await question
        except RefusedByPaypalError as error:
            expect(str(error))
    assert isinstance(answer.issue, str)
    assert isinstance(invoice_id_of(answer.body), str)


def test_a_link_that_is_no_address_names_no_invoice() -> None:
    assert invoice_id_of({"href": "https://[api.paypal.com/v2/INV2-1"}) == ""


@fuzz(20)
@given(odd_texts)
def test_however_long_paypal_says_to_wait_the_wait_is_bounded(text: str) -> None:
    cooling = Cooling(lambda: 0.0)

    assert 0 < (cooling.hit("test", headers={"Retry-After": text}, debug_id="").delay_s or 0) <= RETRY_AFTER_S_MAX


@fuzz(20)
@given(odd_texts | st.sampled_from(ODD_TEXTS))
def test_what_is_taken_for_an_id_can_stand_in_a_path_and_a_column(text: str) -> None:
    assert not is_id(text) or (is_storable(text) and len(text) <= ID_CHARS_MAX)
