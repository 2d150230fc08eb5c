"""PayPal's signatures: the published cases with certificates of the tests' own, and every way to be no sender."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from cryptography import x509

from handlers.paypal.cert_url import CERT_HOSTS, cert_url_problem
from handlers.paypal.proving import body_text, verification_text
from handlers.paypal.settings import TRUST_DIR, Environment
from handlers.paypal.transmission import REQUIRED, NotSignedError, Transmission
from handlers.paypal.trust import Trust
from handlers.paypal.verifying import Believed, Judgement
from hub.errors import ConfigError
from tests.support.running import PROJECT

VECTORS = PROJECT / "tests/data/paypal/signature_vector"
SUITE: dict[str, Any] = json.loads((VECTORS / "cases.json").read_bytes())
CASES: dict[str, dict[str, Any]] = {case["name"]: case for case in SUITE["cases"]}
TEST_TRUST = Trust.of(
    certificate
    for name in (SUITE["trust_anchor"], *SUITE["known_intermediates"])
    for certificate in x509.load_pem_x509_certificates((VECTORS / name).read_bytes())
)
CERTS = "https://api.sandbox.paypal.com/v1/notifications/certs/"
GOOD_URLS = [f"https://{host}/v1/notifications/certs/CERT-360caa42_a5" for host in CERT_HOSTS["sandbox"]]
BAD_URLS = [
    "",
    CERTS,
    f"{CERTS}CERT-1?x=1",
    f"{CERTS}CERT-1?",
    f"{CERTS}CERT-1#x",
    f"{CERTS}CERT-1/",
    f"{CERTS}CERT-1\n",
    f" {CERTS}CERT-1",
    f"{CERTS}..%2f..%2fx",
    f"{CERTS}../../x",
    f"{CERTS}CERT 1",
    f"{CERTS}CERT-１",
    f"{CERTS}" + "a" * 500,
    "http://api.sandbox.paypal.com/v1/notifications/certs/CERT-1",
    "HTTPS://api.sandbox.paypal.com/v1/notifications/certs/CERT-1",
    "https://API.sandbox.paypal.com/v1/notifications/certs/CERT-1",
    "https://api.sandbox.paypal.com:8443/v1/notifications/certs/CERT-1",
    "https://api.sandbox.paypal.com./v1/notifications/certs/CERT-1",
    "https://api.sandbox.paypal.com.evil.example/v1/notifications/certs/CERT-1",
    "https://evil.example/api.sandbox.paypal.com/v1/notifications/certs/CERT-1",
    "https://x@api.sandbox.paypal.com/v1/notifications/certs/CERT-1",
    "https://api.sandbox.paypal.com@evil.example/v1/notifications/certs/CERT-1",
    "https://evil.example\\@api.sandbox.paypal.com/v1/notifications/certs/CERT-1",
    "https://evil.example#@api.sandbox.paypal.com/v1/notifications/certs/CERT-1",
    "https://notpaypal.com/v1/notifications/certs/CERT-1",
    "https://127.0.0.1/v1/notifications/certs/CERT-1",
    "https://api.paypal.com/v1/notifications/certs/CERT-1",
    "https://api.sandbox.paypal.com/v1/other/CERT-1",
]


def judged(case: dict[str, Any], *, trust: Trust = TEST_TRUST, environment: Environment | None = None) -> Judgement:
    """The verdict on a published case, by the configuration that it names."""
    config = case["config"]
    believed = Believed(
        environment or config["environment"], (config["webhook_id"],), trust, config["accept_simulator"]
    )
    body = (VECTORS / case["body_file"]).read_bytes()
    try:
        transmission = Transmission.read(case["headers"], body)
        believed.signer_environment(transmission)
    except NotSignedError as error:
        return Judgement("invalid", str(error))
    pem = (VECTORS / SUITE["certificate_urls"][transmission.cert_url]).read_bytes()
    return believed.judge(transmission, pem, datetime.fromisoformat(case["received_at"]))


def test_there_are_as_many_cases_as_were_published() -> None:
    assert len(CASES) == 21


@pytest.mark.parametrize("name", CASES)
def test_a_published_case_has_its_verdict(name: str) -> None:
    case = CASES[name]

    assert judged(case).verdict == case["expected"], judged(case).reason


def test_what_we_ship_believes_nobody_of_the_tests() -> None:
    shipped = Trust.load(TRUST_DIR, "live")

    verdicts = {name: judged(case, trust=shipped).verdict for name, case in CASES.items()}

    assert not {name for name, verdict in verdicts.items() if verdict in ("valid", "simulated")}
    assert verdicts["valid_live"] == "undecided"
    with pytest.raises(ConfigError, match="never in live"):
        Trust.load(VECTORS / "certs", "live")


def test_a_certificate_counts_at_the_time_of_receipt_not_of_the_look() -> None:
    case = {**CASES["invalid_expired_certificate"], "received_at": "2023-06-01T00:00:00Z"}

    assert judged(case).verdict == "valid"
    assert judged({**case, "received_at": "2024-06-01T00:00:00Z"}).verdict == "invalid"


def test_without_a_webhook_id_nobody_is_believed() -> None:
    case = CASES["valid_sandbox"]
    transmission = Transmission.read(case["headers"], (VECTORS / case["body_file"]).read_bytes())

    with pytest.raises(NotSignedError, match="no webhook id"):
        Believed("sandbox", (), TEST_TRUST).signer_environment(transmission)


@pytest.mark.parametrize("header", REQUIRED)
def test_a_transmission_lacks_no_header(header: str) -> None:
    headers = {name.lower(): value for name, value in CASES["valid_sandbox"]["headers"].items()}

    for value in ({}, {header: ""}):
        with pytest.raises(NotSignedError, match=header):
            Transmission.read({name: text for name, text in headers.items() if name != header} | value, b"{}")


def test_only_paypal_s_addresses_of_our_environment_may_be_asked() -> None:
    assert [cert_url_problem(url, "sandbox") for url in GOOD_URLS] == [None] * len(GOOD_URLS)
    assert [url for url in BAD_URLS if cert_url_problem(url, "sandbox") is None] == []
    assert cert_url_problem(GOOD_URLS[0], "live") is not None


def test_the_api_gets_the_body_byte_for_byte() -> None:
    case = CASES["valid_unicode_body"]
    body = (VECTORS / case["body_file"]).read_bytes()

    text = verification_text(Transmission.read(case["headers"], body), 'id"with a quote')

    assert text.endswith(b',"webhook_event":' + body + b"}")
    assert json.loads(text)["webhook_id"] == 'id"with a quote'


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"a": 1.0}', ('{"a": 1.0}', "utf-8")),
        (b"\xff", ("/w==", "base64")),
        (b"a\x00b", ("YQBi", "base64")),
        (b"0123456789x", (None, "left_out")),
        (b"\x01\x01\x01\x01", ("AQEBAQ==", "base64")),
    ],
)
def test_a_refused_body_is_told_as_it_came(body: bytes, expected: tuple[str | None, str]) -> None:
    assert body_text(body, 10) == expected
