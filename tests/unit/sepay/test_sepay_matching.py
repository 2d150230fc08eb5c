"""Finding the order code inside what a bank made of the transfer content."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.sepay.matching import Ambiguous, Matched, TransferText, Truncated, Unmatched, whole_codes
from handlers.sepay.order_codes import NormalisedCode, normalise

CONTENTS: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "data/sepay/transfer_contents.json").read_text(encoding="utf-8")
)
ISSUED = frozenset(NormalisedCode(intent["normalised"]) for intent in CONTENTS["known_intents"])
TOPUP = NormalisedCode("TOPUP1699999999ABCD1234")
PAY = NormalisedCode("PAYA1B2C3D41699999999")


def transfer_text(case: dict[str, Any]) -> TransferText:
    return TransferText(case["payload_code"] or "", case["content"] or "", case["description"] or "")


@pytest.mark.parametrize("case", CONTENTS["cases"], ids=lambda c: str(c["id"]))
def test_the_code_in_a_bank_content_is_found(case: dict[str, Any]) -> None:
    text = transfer_text(case)

    found = text.match(ISSUED)

    match case["expected_outcome"]:
        case "match":
            assert found == Matched(case["expected_order_code_normalised"])
        case "truncated_code":
            assert found == Truncated(case["expected_partial"])
        case "test_ping":
            assert text.is_test
        case outcome:
            assert (outcome, found) == ("unmatched", Unmatched())
    assert [c for c in text.candidates() if c in ISSUED] == case["expected_candidates"]


def test_two_issued_codes_in_one_content_are_ambiguous() -> None:
    text = TransferText(content=f"{PAY} va {TOPUP}")

    assert text.match(ISSUED) == Ambiguous((PAY, TOPUP))


def test_a_code_that_was_never_issued_is_ignored_beside_one_that_was() -> None:
    text = TransferText(content=f"TOPUP0000000000FFFFFFFF {TOPUP}")

    assert text.match(ISSUED) == Matched(TOPUP)


def test_the_first_text_with_an_issued_code_decides() -> None:
    text = TransferText(code=TOPUP, content=PAY)

    assert text.match(ISSUED) == Matched(TOPUP)


def test_a_whole_code_that_was_never_issued_is_unmatched_and_not_truncated() -> None:
    text = TransferText(code="TOPUP1699999999ABCD", content="TOPUP1699999999FFFFFFFF")

    assert text.match(ISSUED) == Unmatched()


def test_the_longest_piece_of_a_cut_code_is_kept() -> None:
    text = TransferText(code="TOPUP1699999999AB", content="QR TOPUP1699999999ABCD1")

    assert text.match(ISSUED) == Truncated(NormalisedCode("TOPUP1699999999ABCD1"))


def test_codes_that_are_glued_together_are_all_seen() -> None:
    glued = normalise(f"TOPUP{PAY}{TOPUP}99")

    assert whole_codes(glued) == (PAY, TOPUP)


@given(
    st.text("MBVCB.0123456789 -CT tu/đĐ", max_size=60), st.text(" -_./", max_size=3), st.sampled_from(sorted(ISSUED))
)
def test_a_code_is_found_whatever_stands_around_it(noise: str, separator: str, code: NormalisedCode) -> None:
    mangled = f"{noise} {separator.join(code).lower()} {noise}"

    assert TransferText(content=mangled).match(ISSUED) == Matched(code)


def test_the_test_phrase_counts_only_as_the_whole_content() -> None:
    assert TransferText(content="giao dịch thử nghiệm").is_test
    assert not TransferText(content=f"Giao dich thu nghiem {TOPUP}").is_test
