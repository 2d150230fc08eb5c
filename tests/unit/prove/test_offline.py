"""The canonical form is fixed for ever: what was sealed once must be verified by every later version."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub import event
from hub.prove import offline
from hub.prove.offline import (
    FIRST_PREVIOUS,
    NotAProofError,
    block_hash,
    field_form,
    json_text,
    judge,
    leaf_of,
    levels_of,
    node_of,
    path_of,
    root_along,
    root_of,
)

SAMPLES = [("int", -7), ("bool", True), ("text", "ünï"), ("time", 1_795_253_400_000_001), ("uuid", "0" * 31 + "a")]


def test_the_forms_are_what_they_were_when_the_first_block_was_sealed() -> None:
    forms = [field_form(*sample) for sample in SAMPLES] + [field_form("bytes", "ab" * 32), field_form("json", None)]
    leaf = leaf_of("event", forms)
    root = root_of([node_of("event", number, "", leaf) for number in range(3)])
    block = block_hash(number=1, previous=FIRST_PREVIOUS, root=root, members=3, sealed_at=1_795_253_400_000_001)

    assert forms[:5] == [b"I-7", b"B1", b"S\xc3\xbcn\xc3\xaf", b"I1795253400000001", b"U" + bytes(15) + b"\x0a"]
    assert forms[5:] == [b"H" + b"\xab" * 32, b"N"]
    assert leaf.hex() == "f78f61e3ebb7254ef509a11083a5472f848d40cea061366225efae450a3405ee"
    assert root.hex() == "1fef99757b66f9699f91f6c5c2ce7c7724ca43525a7a71f2501ed038d477bfca"
    assert block.hex() == "9268aad0b28ce2de80a6bee4f02f01c5eaa3e1a01c3635c893afd45c75837313"


@pytest.mark.parametrize(
    ("one", "other"),
    [(1e300, 10**300), (-0.0, 0), (2.0, 2), (1.5e3, 1500), ({"b": [1.0], "a": "é"}, {"a": "é", "b": [1]})],
)
def test_json_has_one_form_however_a_database_hands_its_numbers_out(one: object, other: object) -> None:
    assert json_text(one) == json_text(other)


@given(st.floats(allow_nan=False, allow_infinity=False))
@settings(max_examples=60)
def test_a_number_keeps_its_value_in_the_form(number: float) -> None:
    assert float(json.loads(json_text(number))) == number


def test_values_of_another_type_are_refused() -> None:
    for kind, value in (("int", True), ("bool", 1), ("text", 7), ("uuid", "ab"), ("bytes", "zz"), ("date", 1)):
        with pytest.raises(ValueError, match=r"expected a value|hexadecimal|non-hex"):
            field_form(kind, value)


@given(st.integers(1, 40), st.data())
@settings(max_examples=40)
def test_every_member_leads_to_the_root_and_no_other_does(count: int, data: st.DataObject) -> None:
    nodes = [hashlib.sha256(bytes([number])).digest() for number in range(count)]
    place = data.draw(st.integers(0, count - 1))

    path = path_of(levels_of(nodes), place)

    assert root_along(nodes[place], path) == root_of(nodes)
    assert root_along(hashlib.sha256(b"another").digest(), path) != root_of(nodes)


def test_names_are_derived_as_the_hub_derives_them() -> None:
    parts = ("message", "0197f3a2-5c41-7d3e-8a53-0d7f4b1c9e10", "3", "1")

    assert offline.stable_hash(*parts) == event.stable_hash(*parts)
    assert offline.stable_uuid(*parts) == event.stable_uuid_text(*parts)
    assert offline.ROUTE_BITS == event.ROUTE_BITS


@pytest.mark.parametrize(
    "proof", [{}, {"format": "hub proof 1"}, {"format": "other"}, [], {"format": "hub proof 1", "rows": [{}]}]
)
def test_what_is_no_proof_is_said_to_be_none(proof: dict[str, object]) -> None:
    with pytest.raises(NotAProofError):
        judge(proof)


def test_the_verifier_runs_without_the_hub(tmp_path: Path) -> None:
    file = tmp_path / "proof.json"
    file.write_text("{}")
    command = [sys.executable, "-I", "-S", "-c", _LISTING, str(offline.__file__), str(file)]

    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    assert done.stdout.startswith("error not a proof"), done.stderr
    assert "hub modules: []" in done.stdout


_LISTING = """
import runpy, sys
script, sys.argv = sys.argv[1], sys.argv[1:]
try:
    runpy.run_path(script, run_name="__main__")
except SystemExit as end:
    assert end.code == 2, end.code
print("hub modules:", [name for name in sys.modules if name.partition(".")[0] in ("hub", "sqlalchemy", "pydantic")])
"""
