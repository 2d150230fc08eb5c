"""Proofs of who is asking: tokens of users, API keys, keys and signatures of senders."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import jwt
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from handlers.sepay.oauth import sepay_oauth2
from hub.errors import ConfigError
from hub.event import Verdict
from hub.ingress.authentication import Request
from hub.ingress.remote import client_address
from hub.ingress.schemes import SchemeRegistry
from hub.ingress.tokens import SUBJECT_MAX, ApiKeys, Doorman, RefusedError, Role, Tokens
from tests.hostile.parsers.inputs import ODD_LITERALS, expect, fuzz, header_texts, is_storable, mutated_text, odd_texts

NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
SECRET = "a shared secret that is long enough for each algorithm"
CLAIMS: dict[str, Any] = {"sub": "42", "exp": 2_000_000_000, "iat": 1_700_000_000, "nbf": 1_700_000_000}
TOKENS = Tokens(secret=SECRET)
WHOLE = jwt.encode(CLAIMS, SECRET, algorithm="HS256")
KEYS = {"k" * 32: "shop:client", "o" * 32: "desk:operator"}
DOORMAN = Doorman(ApiKeys.read("a" * 32, ",".join(f"{holder}:{key}" for key, holder in KEYS.items())), TOKENS)


def part_of(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode("utf-8", "surrogatepass")).rstrip(b"=").decode()


def signed(token: str) -> tuple[str, bytes]:
    """What is signed, and the signature: in base64 the same one has more than one spelling."""
    text, _, signature = token.rpartition(".")
    return text, base64.urlsafe_b64decode(f"{signature}==")


heads = st.sampled_from(ODD_LITERALS).flatmap(
    lambda odd: st.sampled_from(
        (f'{{"alg": {odd}}}', f'{{"alg": "HS256", "crit": {odd}}}', f'{{"alg": "HS256", "b64": {odd}}}', odd)
    )
)


@fuzz(40)
@given(
    mutated_text([WHOLE]) | odd_texts | st.builds(lambda head: ".".join((part_of(head), *WHOLE.split(".")[1:])), heads)
)
def test_a_token_that_is_not_to_the_letter_names_nobody(token: str) -> None:
    try:
        user = TOKENS.verify(token, NOW)
    except RefusedError as error:
        expect(error.status == 401)
        expect(len(str(error)) < 200)
        return

    assert user.id == "42"
    assert jwt.decode(token, SECRET, algorithms=["HS256"], options={"verify_exp": False}) == CLAIMS


@fuzz(40)
@given(
    st.sampled_from(["sub", "exp", "nbf", "iat", "aud", "iss", "jti"]),
    st.sampled_from(ODD_LITERALS) | odd_texts.map(json.dumps),
)
def test_whatever_a_signed_token_claims_it_names_a_user_that_can_be_stored_or_nobody(name: str, literal: str) -> None:
    claims = json.dumps({**CLAIMS, name: "@@"}).replace('"@@"', literal)
    token = jwt.api_jws.encode(claims.encode("utf-8", "surrogatepass"), SECRET.encode(), algorithm="HS256")
    try:
        user = TOKENS.verify(token, NOW)
    except RefusedError as error:
        expect(error.status == 401)
        return

    assert is_storable(user.id)
    assert 0 < len(user.id) <= SUBJECT_MAX


@pytest.mark.parametrize(
    "claims", [{"sub": "a\x00"}, {"sub": "\ud800"}, {"exp": 10**400}, {"iat": 10**400}, {"nbf": float("inf")}]
)
def test_a_claim_that_nothing_can_hold_is_refused(claims: dict[str, Any]) -> None:
    token = jwt.encode({**CLAIMS, **claims}, SECRET, algorithm="HS256")

    with pytest.raises(RefusedError):
        TOKENS.verify(token, NOW)


@fuzz(40)
@given(st.lists(header_texts | mutated_text([f"Bearer {WHOLE}", f"Bearer {'k' * 32}"]), max_size=2))
def test_any_authorization_is_somebody_or_refused(values: list[str]) -> None:
    headers = CIMultiDict([("Authorization", value) for value in values])
    request = cast(web.Request, SimpleNamespace(headers=headers))
    for ask in (lambda: DOORMAN.require(request, Role.CLIENT), lambda: DOORMAN.user(request, NOW)):
        try:
            ask()
        except RefusedError as error:
            expect(error.status in (401, 403))
            continue
        proof = values[0].strip().partition(" ")[2].strip()
        assert proof in (*KEYS, "a" * 32) or signed(proof) == signed(WHOLE)


def test_bytes_in_a_header_that_are_no_text_are_refused_like_any_other_token() -> None:
    with pytest.raises(RefusedError, match="not ASCII"):
        TOKENS.verify(b"a.b.\xff".decode("utf-8", "surrogateescape"), NOW)


@fuzz(30)
@given(mutated_text(["shop:client:abc,desk:operator:def,x:viewer:g:h"]) | odd_texts)
def test_keys_of_the_environment_are_read_or_refused_without_being_quoted(text: str) -> None:
    try:
        keys = ApiKeys.read("", text)
    except ConfigError as error:
        expect(
            all(
                entry.rpartition(":")[2] not in str(error)
                for entry in text.split(",")
                if len(entry.rpartition(":")[2]) > 20
            )
        )
        return

    assert keys.has_any == bool(text.replace(",", "").strip())


SCHEMES: list[dict[str, Any]] = [
    {"scheme": "api_key", "prefix": "Apikey", "secret": SECRET},
    {"scheme": "hmac", "style": "standard-webhooks", "secret": "whsec_" + base64.b64encode(b"k" * 24).decode()},
    {
        "scheme": "hmac",
        "secret": SECRET,
        "signature_header": "X-Sig",
        "timestamp_header": "X-Time",
        "prefix": "sha256=",
        "encoding": "base64",
    },
]
NAMES = ("authorization", "webhook-signature", "webhook-timestamp", "webhook-id", "x-sig", "x-time")


@fuzz(40)
@given(
    st.dictionaries(
        st.sampled_from(NAMES),
        header_texts | st.sampled_from(("1769851800", "v1,AAAA", "sha256=AAAA", "Apikey x")),
        min_size=1,
    ),
    st.binary(max_size=20),
)
def test_no_headers_but_the_right_ones_prove_a_sender(headers: dict[str, str], body: bytes) -> None:
    registry = SchemeRegistry({"sepay_oauth2": sepay_oauth2})
    for auth in SCHEMES:
        decision = registry.build(auth).decide(Request(method="POST", path="/x\udcff", headers=headers, body=body), NOW)
        assert decision.verdict is not Verdict.VALID
        assert decision.reason


@fuzz(30)
@given(
    st.sampled_from(("tolerance_s", "encoding", "template", "secret", "prefix", "hash")),
    header_texts | st.integers() | st.none() | st.lists(header_texts, max_size=2),
)
def test_parameters_of_a_scheme_are_taken_or_every_mistake_is_told(name: str, value: object) -> None:
    try:
        SchemeRegistry().build({**SCHEMES[2], name: value})
    except ConfigError as error:
        expect(error.problems)
        expect(SECRET not in str(error))


@fuzz(30)
@given(odd_texts, st.lists(odd_texts | st.ip_addresses().map(str), max_size=3))
def test_an_address_before_the_proxy_is_any_text_and_never_an_error(remote: str, forwarded: list[str]) -> None:
    assert isinstance(client_address(remote, forwarded, ()), str)
