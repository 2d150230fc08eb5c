"""Order codes: generation and normalisation against the vectors, and the laws that matching leans on."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.sepay.order_codes import (
    TRANSFER_CONTENT_CHARS_MAX,
    normalise,
    pay_code,
    random_hex_of,
    topup_code,
)

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "data/sepay/order_code_vectors.json").read_text(encoding="utf-8")
)
HEX_8 = st.text("0123456789ABCDEF", min_size=8, max_size=8)
INSTANTS = st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds


@pytest.mark.parametrize("vector", VECTORS["generation"], ids=lambda v: str(v["order_code"]))
def test_a_code_is_made_as_the_vectors_say(vector: dict[str, Any]) -> None:
    make = {"topup": topup_code, "pay": pay_code}[vector["kind"]]
    now = datetime.fromtimestamp(vector["epoch_seconds"], UTC)

    code = make(now, vector["random_hex"])

    assert code == vector["order_code"]
    assert normalise(code) == vector["normalised"]
    assert len(normalise(code)) == vector["length"]


@pytest.mark.parametrize("vector", VECTORS["normalisation"], ids=lambda v: str(v["in"]))
def test_a_text_is_normalised_as_the_vectors_say(vector: dict[str, str]) -> None:
    assert normalise(vector["in"]) == vector["out"]


@given(st.text())
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    once = normalise(text)

    assert normalise(once) == once
    assert all(c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789" for c in once)


@given(INSTANTS, HEX_8)
def test_every_code_fits_into_the_transfer_content(now: datetime, random_hex: str) -> None:
    for code in (topup_code(now, random_hex), pay_code(now, random_hex)):
        assert len(normalise(code)) <= TRANSFER_CONTENT_CHARS_MAX


def test_the_random_part_is_the_random_end_of_an_id() -> None:
    assert random_hex_of(UUID("018f0000-0000-7000-8000-0000abcd1234")) == "ABCD1234"


def test_anything_but_eight_hexadecimal_characters_is_refused() -> None:
    with pytest.raises(ValueError, match="eight upper-case hexadecimal"):
        topup_code(datetime(2024, 1, 1, tzinfo=UTC), "abcd1234")
