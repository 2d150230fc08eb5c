"""OPA-Auth against worked vectors, some of them PayPay's own published samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from handlers.paypay.auth import SignedRequest, authorization, proven_key

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[2] / "data/paypay/opa_auth_vectors.json").read_text())
ACCEPTED: list[dict[str, Any]] = VECTORS["vectors"]
CHANGED: list[dict[str, Any]] = VECTORS["accept_cases"] + VECTORS["reject_cases"]
BY_NAME = {vector["name"]: vector for vector in ACCEPTED}


def signed(vector: dict[str, Any]) -> SignedRequest:
    return SignedRequest(
        method=vector["method"],
        path=vector["path"],
        content_type=vector["content_type_on_wire"] or "",
        body=(vector["body"] or "").encode(),
    )


@pytest.mark.parametrize("vector", ACCEPTED, ids=lambda vector: vector["name"])
def test_a_vector_is_made_and_accepted(vector: dict[str, Any]) -> None:
    request, expected = signed(vector), vector["expect"]
    key, secret, epoch = vector["api_key"], vector["api_secret"], vector["epoch"]

    made = authorization(request, api_key=key, api_secret=secret, nonce=vector["nonce"], epoch=epoch)

    assert request.body_hash == expected["body_hash"]
    assert request.text(nonce=vector["nonce"], epoch=str(epoch)) == expected["string_to_sign"]
    assert made == expected["authorization"]
    assert proven_key(made, request, secrets={key: secret}, now=epoch) == (key, vector["nonce"], str(epoch))


@pytest.mark.parametrize("case", CHANGED, ids=lambda case: case["name"])
def test_a_changed_request_is_judged_as_paypay_does(case: dict[str, Any]) -> None:
    base, change = BY_NAME[case["base_vector"]], case["change"]
    header = change.get("authorization", base["expect"]["authorization"])
    now = change.get("server_epoch", base["epoch"])

    proven = proven_key(header, signed(base | change), secrets={base["api_key"]: base["api_secret"]}, now=now)

    assert (proven is None) == (case["expect"]["http_status"] == 401)


def test_the_vectors_are_all_there() -> None:
    assert (len(ACCEPTED), len(VECTORS["accept_cases"]), len(VECTORS["reject_cases"])) == (12, 1, 15)


def test_paypays_sample_without_its_body_has_the_published_mac() -> None:
    sample = VECTORS["published_without_body_bytes"]

    class Hashed(SignedRequest):
        @property
        def body_hash(self) -> str:
            return str(sample["body_hash"])

    request = Hashed(
        method=sample["method"], path=sample["path"], content_type=sample["signed_content_type"], body=b"unknown"
    )

    made = authorization(
        request,
        api_key=sample["api_key"],
        api_secret=sample["api_secret"],
        nonce=sample["nonce"],
        epoch=sample["epoch"],
    )

    assert made.split(":")[2] == sample["mac"]
