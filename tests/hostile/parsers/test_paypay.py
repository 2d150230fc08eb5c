"""What PayPay sends and answers: transaction files, notices, addresses, tokens, signatures, the API's answers."""

from __future__ import annotations

import base64
import io
import json
from typing import Any
from zoneinfo import ZoneInfo

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from handlers.paypay.answers import KEPT, Answer, Asked, facts_from, outcome_of
from handlers.paypay.auth import SignedRequest, authorization, proven_key
from handlers.paypay.codes import Call
from handlers.paypay.files_address import AddressRefusedError, Allowed, checked_address, host_of, is_public
from handlers.paypay.files_layout import COLUMNS, COLUMNS_MAX, STATUSES_MAX, Layout, TransactionFile, read_name
from handlers.paypay.finance_report import Month
from handlers.paypay.notices import CASHBACK_KEYS, first_id
from handlers.paypay.outcomes import Outcome, PayPayBusyError, PayPayPausedError, Unknown
from handlers.paypay.settings import PayPaySettings
from handlers.paypay.tokens import read_token
from handlers.paypay.wire import AMOUNT_JPY_MAX
from hub.calls.outcome import Declined, Pending, Settled
from hub.errors import RefusedCommand, UnreadableError, UsageError
from hub.jsonbody import parse_json
from schemas.paypay_exchange import Notification
from tests.hostile.parsers.inputs import (
    bodies_in,
    expect,
    fuzz,
    is_storable,
    json_file,
    mutated,
    mutated_json,
    mutated_text,
    odd_texts,
)

FILES: dict[str, Any] = json_file("paypay/recon_files.json")
CONTENTS: dict[Layout, bytes] = {
    "instant": base64.b64decode(FILES["instant"]["content_base64"]),
    "capture": base64.b64decode(FILES["capture"]["content_base64"]),
    "other": "cashback_id,acceptedAt,何か\nc-1,2024-01-01,髙\n".encode("cp932"),
}
NOTICES: dict[str, Any] = json_file("paypay/webhooks.json")
BODIES = [
    json.loads(text)
    for name in ("payments_api", "cashback_api")
    for text in bodies_in(json_file(f"paypay/{name}.json"))
    if "resultInfo" in json.loads(text)
]
TOKENS: dict[str, Any] = json_file("paypay/auth_tokens.json")
SETTINGS = PayPaySettings(api_key=TOKENS["api_key"], api_secret=SecretStr(TOKENS["api_secret"]))
KEY = base64.b64decode(TOKENS["api_secret"])
CLAIMS: dict[str, Any] = jwt.decode(TOKENS["response_tokens"][0]["token"], options={"verify_signature": False})
ADDRESS = "https://files.paypay.example/2024/transaction_1.csv?X-Amz-Signature=abc"
ALLOWED = Allowed(hosts=("files.paypay.example", "other.example:8443"))


@fuzz(40)
@given(st.sampled_from(list(CONTENTS)).flatmap(lambda layout: st.tuples(st.just(layout), mutated([CONTENTS[layout]]))))
def test_a_transaction_file_is_read_to_its_end_or_refused_with_its_place(case: tuple[Layout, bytes]) -> None:
    layout, content = case
    try:
        file = TransactionFile(io.BytesIO(content), layout)
        rows = list(file.rows())
    except UnreadableError as error:
        expect((error.line or 0) >= 1)
        expect((error.column or 0) >= 1)
        expect(len(str(error)) < 500)
        return

    found = file.found
    assert found.row_count == len(rows) < content.count(b"\n") + content.count(b"\r") + 1
    assert len(found.columns) <= COLUMNS_MAX
    assert set(COLUMNS[layout]) <= set(found.columns)
    assert len(found.statuses) <= STATUSES_MAX + 1
    for row in rows:
        assert set(row.cells) == set(found.columns)
        assert all(is_storable(cell) for cell in row.cells.values())
        assert row.amount_jpy is None or (type(row.amount_jpy) is int and abs(row.amount_jpy) <= AMOUNT_JPY_MAX)
        assert (row.at is not None and row.at.tzinfo is not None) == (layout != "other")
    assert found.completed_jpy == sum(row.amount_jpy or 0 for row in rows if row.status == "COMPLETED")


@fuzz(20)
@given(mutated_text([FILES["instant"]["file_name"], FILES["capture"]["file_name"]]))
def test_the_name_of_a_file_says_what_it_can(name: str) -> None:
    found = read_name(name)

    assert found.layout in COLUMNS
    assert (found.merchant_id is None) == (found.layout == "other")
    assert found.merchant_id is None or found.merchant_id == name.removeprefix("preauth_").split("_")[1]


@fuzz(40)
@given(mutated_text([ADDRESS, "https://other.example:8443/x", "https://127.0.0.1/x", "https://[::1]/x"]) | odd_texts)
def test_only_an_address_on_the_list_is_fetched_from(text: str) -> None:
    try:
        url = checked_address(text, ALLOWED)
    except AddressRefusedError as error:
        expect(len(str(error)) < 250)
        return

    assert url.scheme == "https"
    assert (url.user, url.password) == (None, None)
    assert (host_of(url), url.port) in (("files.paypay.example", 443), ("other.example", 8443))


@fuzz(20)
@given(odd_texts | st.ip_addresses().map(str))
def test_any_text_is_judged_as_an_address_of_the_internet(text: str) -> None:
    assert is_public(text) in (True, False)


@fuzz(30)
@given(mutated_json([*NOTICES["transaction"].values(), *NOTICES["customer"].values()]))
def test_a_notice_names_an_id_that_can_be_looked_for_or_none(body: bytes) -> None:
    try:
        data = parse_json(body)
        Notification.model_validate(data)
    except (UnreadableError, ValidationError):
        return

    for names in (CASHBACK_KEYS, ("order_id", "merchant_order_id"), tuple(data)):
        found = first_id(data, names)
        assert found is None or (0 < len(found) <= 64 and found.isascii() and found.isprintable())


@fuzz(30)
@given(mutated_text([one["token"] for one in TOKENS["response_tokens"]]) | odd_texts)
def test_a_token_that_is_not_to_the_letter_says_nothing(token: str) -> None:
    try:
        read = read_token(token, SETTINGS)
    except RefusedCommand as error:
        expect(error.code == "TOKEN_REFUSED")
        expect(len(error.detail) < 200)
        return

    assert read.expires_at.tzinfo is not None
    assert jwt.decode(token, options={"verify_signature": False})["aud"] == TOKENS["api_key"]


@fuzz(20)
@given(
    st.sampled_from(list(CLAIMS)),
    odd_texts | st.integers() | st.none() | st.floats() | st.lists(st.integers(), max_size=2),
)
def test_whatever_a_signed_token_claims_it_is_read_or_refused(name: str, value: object) -> None:
    try:
        token = jwt.encode({**CLAIMS, name: value}, KEY, algorithm="HS256")
    except (TypeError, ValueError):
        return
    try:
        read_token(token, SETTINGS)
    except RefusedCommand as error:
        expect(error.code == "TOKEN_REFUSED")


@fuzz(40)
@given(
    st.sampled_from(list(Call)),
    st.sampled_from((200, 201, 202, 400, 401, 404, 429, 500, 503)),
    mutated_json(BODIES) | mutated([b"", b"<html>"]),
)
def test_an_answer_is_one_of_the_closed_outcomes_and_what_is_kept_can_be_stored(
    call: Call, status: int, body: bytes
) -> None:
    asked = Asked(call, {"merchantPaymentId": "pay-0001", "merchantCashbackId": "cb-20240101-0001"})
    facts = facts_from(asked, Answer(http_status=status, body=body))
    try:
        outcome: Outcome = outcome_of(asked, facts)
    except (PayPayBusyError, PayPayPausedError) as error:
        expect((error.delay_s or 0) > 0)
        return

    assert isinstance(outcome, Settled | Declined | Pending | Unknown)
    assert not (isinstance(outcome, Settled | Declined) and status >= 500)
    assert facts.amount_jpy is None or 0 <= facts.amount_jpy <= AMOUNT_JPY_MAX
    assert all(is_storable(text) for text in (facts.code, facts.code_id, facts.status))
    assert set(facts.data) <= {*KEPT, "refunds", "captures"}
    assert is_storable(json.dumps(facts.stored(), ensure_ascii=False))


@fuzz(20)
@given(odd_texts, st.integers(0, 3))
def test_a_signature_that_is_changed_proves_nobody(text: str, place: int) -> None:
    request = SignedRequest(method="POST", path="/v2/cashback", content_type="application/json", body=b"{}")
    whole = authorization(request, api_key="key", api_secret="secret", nonce="n", epoch=1_704_112_496)
    fields = whole.split(":")
    fields[place + 1] = f"{fields[place + 1]}{text}"

    proven = proven_key(":".join(fields), request, secrets={"key": "secret"}, now=1_704_112_496.0)

    assert (proven is not None) == (not text)


@pytest.mark.parametrize("text", ["9" * 5_000 + "-01", "2026-" + "9" * 5_000, "2026", "-", "\u0662026-01"])
def test_a_month_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected a month"):
        Month.read(text, ZoneInfo("Asia/Tokyo"))
