"""The VietQR payload, judged by published and computed strings, and by reading back what was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.sepay.vietqr import BINS, VietQr, crc16, read_payload

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "data/sepay/vietqr_vectors.json").read_text(encoding="utf-8")
)
ALL = [*VECTORS["published"], *VECTORS["computed"]]
REBUILDABLE = [vector for vector in ALL if vector["rebuildable"]]
NO_TRANSFER = [vector for vector in ALL if not vector["rebuildable"]]

codes = st.builds(
    VietQr,
    bin=st.from_regex(r"[0-9]{6}", fullmatch=True),
    account=st.from_regex(r"[0-9A-Za-z]{1,19}", fullmatch=True),
    amount_minor=st.none() | st.integers(1, 10**13 - 1),
    purpose=st.from_regex(r"[ -~]{0,25}", fullmatch=True),
    bill_number=st.from_regex(r"[ -~]{0,25}", fullmatch=True),
    service=st.sampled_from(["QRIBFTTA", "QRIBFTTC"]),
)


def asked(input: dict[str, Any]) -> VietQr:
    return VietQr(
        bin=input["bin"],
        account=input["account"],
        amount_minor=input.get("amount"),
        purpose=input.get("purpose", ""),
        bill_number=input.get("bill_number", ""),
        service=input["service"],
    )


def test_the_checksum_is_the_one_that_the_specification_names() -> None:
    assert f"{crc16(VECTORS['crc_check']['input']):04X}" == VECTORS["crc_check"]["crc"]


@pytest.mark.parametrize("vector", ALL, ids=lambda v: str(v["id"]))
def test_every_string_ends_with_its_checksum(vector: dict[str, Any]) -> None:
    text = vector["string"]
    assert f"{crc16(text[:-4]):04X}" == text[-4:]


@pytest.mark.parametrize("vector", REBUILDABLE, ids=lambda v: str(v["id"]))
def test_a_payload_equals_the_published_one(vector: dict[str, Any]) -> None:
    assert asked(vector["input"]).payload() == vector["string"]


@pytest.mark.parametrize("vector", REBUILDABLE, ids=lambda v: str(v["id"]))
def test_a_published_payload_is_read_back(vector: dict[str, Any]) -> None:
    assert read_payload(vector["string"]) == asked(vector["input"])


@pytest.mark.parametrize("vector", NO_TRANSFER, ids=lambda v: str(v["id"]))
def test_what_asks_for_no_transfer_is_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"field|transfer"):
        read_payload(vector["string"])


@pytest.mark.parametrize("vector", VECTORS["invalid"], ids=lambda v: str(v["id"]))
def test_a_broken_payload_is_refused_and_lower_case_is_read(vector: dict[str, Any]) -> None:
    if vector["id"] == "crc_lower_case":
        assert read_payload(vector["string"]).payload() == vector["string"].upper().replace(
            "THANH TOAN DON HANG", "thanh toan don hang"
        )
        return
    with pytest.raises(ValueError, match=r"checksum|field"):
        read_payload(vector["string"])


def test_the_banks_numbers_are_the_published_ones() -> None:
    assert {name.upper(): number for name, number in VECTORS["bank_bins"].items()} == BINS


@given(codes)
def test_what_is_written_is_read_back(code: VietQr) -> None:
    assert read_payload(code.payload()) == code


@given(codes, st.data())
def test_one_changed_character_is_noticed(code: VietQr, data: st.DataObject) -> None:
    text = code.payload()
    at = data.draw(st.integers(0, len(text) - 5))
    other = data.draw(st.characters(min_codepoint=32, max_codepoint=126).filter(lambda c: c != text[at]))
    with pytest.raises(ValueError, match=r".+"):
        read_payload(text[:at] + other + text[at + 1 :])


@pytest.mark.parametrize(
    "wrong",
    [
        {"bin": "97041"},
        {"account": ""},
        {"account": "1" * 20},
        {"account": "12 34"},
        {"amount_minor": 0},
        {"amount_minor": 10**13},
        {"purpose": "x" * 26},
        {"purpose": "chuyển tiền"},
    ],
)
def test_what_does_not_fit_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        VietQr(**{"bin": "970418", "account": "8880000001", "amount_minor": 1, **wrong}).payload()
