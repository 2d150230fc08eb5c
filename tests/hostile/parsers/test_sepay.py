"""What SePay sends and answers: webhooks, transfer contents, the transaction list, QR payloads."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from handlers.sepay.bank_values import AMOUNT_MINOR_MAX
from handlers.sepay.matching import Ambiguous, Matched, TransferText, whole_codes
from handlers.sepay.order_codes import NormalisedCode, normalise
from handlers.sepay.statement import Page, StatementError, read_page_v1, read_page_v2
from handlers.sepay.statement_api import RETRY_AFTER_S_MAX, _delay_s
from handlers.sepay.transfers import BALANCE_MINOR_MAX, TEXT_CHARS_MAX, BankTransfer, is_test, read_transfer
from handlers.sepay.vietqr import PAYLOAD_CHARS_MAX, crc16, read_payload
from hub.errors import UnreadableError
from hub.formbody import parse_body
from schemas.sepay import TRANSFER_ID_MAX, Transfer
from schemas.sepay_desk import CallbackReceived
from tests.hostile.parsers.inputs import (
    expect,
    fuzz,
    is_storable,
    json_file,
    mutated,
    mutated_json,
    mutated_text,
    odd_texts,
)

PAYLOADS: list[Any] = [case["payload"] for case in json_file("sepay/webhook_payloads.json")["payloads"]]
SAMPLES: dict[str, Any] = json_file("sepay/transactions_api_samples.json")
CODES = [NormalisedCode("TOPUP1699999999ABCD1234"), NormalisedCode("PAYA1B2C3D41699999999")]
VECTORS: dict[str, Any] = json_file("sepay/vietqr_vectors.json")
QR: list[str] = [one["string"] for one in (*VECTORS["published"], *VECTORS["computed"])]


@fuzz(30)
@given(mutated_json(PAYLOADS))
def test_a_transfer_is_read_within_all_bounds_or_refused_by_name(body: bytes) -> None:
    try:
        transfer = Transfer.model_validate(parse_body(body, "application/json"))
    except (UnreadableError, ValidationError):
        return

    assert 0 <= transfer.id <= TRANSFER_ID_MAX
    is_test(transfer)
    try:
        _judge(read_transfer(transfer))
    except ValueError as error:
        expect(len(str(error)) < 100)


def _judge(read: BankTransfer) -> None:
    texts = (read.account_number, read.sub_account, read.reference, read.gateway, read.provider_uuid)
    assert 0 < read.amount_minor <= AMOUNT_MINOR_MAX
    assert type(read.amount_minor) is int
    assert read.booked_at.tzinfo is not None
    assert read.accumulated_minor is None or abs(read.accumulated_minor) <= BALANCE_MINOR_MAX
    assert all(is_storable(text) and len(text) <= 100 for text in texts)
    assert len(read.text.content) <= TEXT_CHARS_MAX


@fuzz(20)
@given(mutated_json(PAYLOADS))
def test_a_callback_without_a_number_is_a_hint_or_refused(body: bytes) -> None:
    try:
        CallbackReceived.model_validate(parse_body(body, "application/json"))
    except (UnreadableError, ValidationError):
        return


codes_around = st.builds(
    lambda before, code, cut, after: f"{before}{code[:cut]}{after}",
    odd_texts,
    st.sampled_from([*CODES, "PAY_A1B2C3D4_1699999999", "topup 1699999999-abcd1234"]),
    st.integers(0, 24),
    odd_texts,
)


@fuzz(30)
@given(codes_around, codes_around | odd_texts, odd_texts, st.sets(st.sampled_from(CODES)))
def test_only_a_whole_code_that_was_issued_is_ever_a_match(
    code: str, content: str, description: str, issued: set[NormalisedCode]
) -> None:
    text = TransferText(code, content, description)
    match = text.match(issued)

    found = match.codes if isinstance(match, Ambiguous) else (match.code,) if isinstance(match, Matched) else ()
    assert set(found) <= issued & set(text.candidates())
    assert len(text.candidates()) <= sum(map(len, (code, content, description))) * 4
    for one in (code, content, description):
        plain = normalise(one)
        assert normalise(plain) == plain
        assert plain.isascii()
        assert plain.isalnum() or not plain
        assert all(len(whole) in (21, 23) and whole in plain for whole in whole_codes(plain))


@fuzz(30)
@given(mutated_json([SAMPLES["v1"]["response"], SAMPLES["v2"]["response"]]) | mutated([b"", b"  ", b"[]"]))
def test_a_page_of_the_transaction_list_is_read_or_refused_and_never_no_rows_by_mistake(body: bytes) -> None:
    for page in (_page(1, body), _page(2, body)):
        for row in page.rows if page is not None else ():
            assert 0 < row.id < 2**63
            json.dumps(dict(row.body))
            if row.transfer is not None:
                _judge(row.transfer)


def _page(version: int, body: bytes) -> Page | None:
    try:
        return read_page_v1(body, limit=10) if version == 1 else read_page_v2(body)
    except StatementError as error:
        expect(len(str(error)) < 100)
        return None


@pytest.mark.parametrize("number", ["9" * 5_000, "9" * 21, "0", "-1", "\u0661"])
def test_a_row_whose_number_no_column_holds_refuses_its_page(number: str) -> None:
    body = json.dumps({"status": 200, "transactions": [{"id": number}]}).encode()

    with pytest.raises(StatementError, match="has no number"):
        read_page_v1(body, limit=1)


@fuzz(30)
@given(mutated_text(QR), st.booleans())
def test_a_qr_payload_is_read_and_written_again_the_same_or_refused(text: str, has_checksum: bool) -> None:
    if has_checksum and len(text) > 8:
        text = f"{text[:-8]}6304"
        text = f"{text}{crc16(text) if _is_encodable(text) else 0:04X}"
    try:
        found = read_payload(text)
    except ValueError as error:
        expect(not isinstance(error, UnicodeError))
        return

    assert len(text) <= PAYLOAD_CHARS_MAX
    assert read_payload(found.payload()) == found


def _is_encodable(text: str) -> bool:
    return is_storable(text.replace("\x00", ""))


@fuzz(20)
@given(odd_texts)
def test_whatever_stands_in_retry_after_the_wait_is_bounded(text: str) -> None:
    assert 1.0 <= _delay_s({"Retry-After": text}) <= RETRY_AFTER_S_MAX
