"""Files that come back after a long time, perhaps by way of others: proofs of events, objects of the archive."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import HubError, PermanentError
from hub.prove.document import proof_of
from hub.prove.offline import NotAProofError, judge, main
from hub.retention.objects import Packed, pack, unpack
from hub.retention.record import FORMAT, EventRecord, from_line, to_line
from hub.store import tables as t
from hub.store.store import Store
from tests.hostile.parsers.inputs import expect, fuzz, mutated, mutated_json
from tests.integration.seal.till import seal_all, sell, till
from tests.support.databases import Databases

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
async def proof(databases: Databases) -> AsyncIterator[dict[str, Any]]:
    address = await databases.fresh("sqlite")
    store = Store.open(address)
    async with till(store) as parts:
        await sell(parts, 2)
        await seal_all(store, parts.clock)
        event: UUID = (await parts.rows(t.inbox))[1].id
        yield await proof_of(store, str(event), now=parts.clock.now())
    await store.close()
    await databases.drop(address)


def _verdict(text: bytes) -> list[bool] | None:
    """What the judge finds; None where it says that this is no proof."""
    try:
        return [one.ok for one in judge(json.loads(text))]
    except NotAProofError as error:
        expect(len(str(error)) < 500 + len(text))
    except (ValueError, RecursionError):
        # The reader of JSON, which its callers ask by themselves.
        return None
    return None


def _bound(proof: dict[str, Any]) -> dict[object, object]:
    """What the seal of a proof holds: the values of each row that has a path, and the blocks."""
    paths = {(one["kind"], one["id"], one["key"]) for one in proof["seal"]["paths"]}
    held: dict[object, object] = {}
    for one in proof["rows"]:
        name = (one["kind"], int(one["id"]), one["key"])
        if name in paths:
            held[name] = tuple(
                field["value"] if field["type"] == "text" else _lower(field["value"]) for field in one["fields"]
            )
    for one in proof["seal"]["blocks"]:
        held[one["number"]] = tuple(_lower(one[name]) for name in ("previous", "root", "members", "sealed_at", "hash"))
    return held


def _lower(value: Any) -> Any:
    """Digits of hex have two spellings."""
    return value.lower() if isinstance(value, str) else value


async def test_a_proof_that_was_changed_passes_only_with_what_was_sealed(proof: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "proof.json"
    whole = json.dumps(proof).encode()
    assert all(_verdict(whole) or [False])
    whole_bound = _bound(proof)
    assert len(whole_bound) > 5

    @fuzz(15)
    @given(mutated_json([proof]) | mutated([whole]))
    def touched(text: bytes) -> None:
        verdict = _verdict(text)
        if verdict and all(verdict):
            # Without its path a row is said not to be sealed.
            assert _bound(json.loads(text)).items() <= whole_bound.items()
        said: list[str] = []
        file.write_bytes(text)
        code = main([str(file)], said.append)
        assert code == (2 if verdict is None else 0 if all(verdict) else 1)
        assert said
        assert all(line.isprintable() for line in said)

    touched()


async def test_a_row_beside_the_one_that_was_sealed_under_its_name_is_found(proof: dict[str, Any]) -> None:
    [account, *_] = [one for one in proof["rows"] if one["kind"] == "account"]

    findings = judge(proof | {"rows": [*proof["rows"], account]})

    assert [one.detail for one in findings if not one.ok] == [f"account {account['id']} is there twice"]


def test_nesting_beyond_all_sense_is_no_proof() -> None:
    for deep in ("[" * 100_000, '{"a":' * 100_000):
        field = {"name": "x", "type": "json", "value": "0" * 64, "content": deep}
        event = {
            "kind": "event",
            "id": 1,
            "key": "",
            "fields": [{"name": "id", "type": "uuid", "value": "0" * 32}, field],
        }
        with pytest.raises(NotAProofError):
            judge({"format": "hub proof 1", "rows": [event], "event_id": "0" * 32})


def _packed() -> Packed:
    event_id = UUID(int=7)
    inbox = {column.name: None for column in t.inbox.columns} | {
        "id": event_id,
        "seq": 5,
        "source": "shop",
        "payload": b"\x00\xff",
        "received_at": NOON,
        "headers": {"a": "\u0000"},
    }
    tag = {"name": "order_code", "value": "ORD1", "event_id": event_id}
    return pack([EventRecord(event_id, 5, {"inbox": [inbox], "tags": [tag]})], NOON)


WHOLE = _packed().content
LINES = gzip.decompress(WHOLE)


@fuzz(40)
@given(mutated([WHOLE]) | mutated([LINES]).map(lambda text: gzip.compress(text, 1)))
def test_an_object_of_the_archive_is_read_or_said_to_be_none(content: bytes) -> None:
    try:
        found = list(unpack(content))
    except PermanentError as error:
        expect(len(str(error)) < 200)
        return

    assert all(isinstance(one.event_id, UUID) for one in found)


@fuzz(40)
@given(mutated_json([json.loads(LINES.splitlines()[1])]))
def test_a_line_of_the_archive_is_read_and_written_again_the_same_or_refused(line: bytes) -> None:
    try:
        record = from_line(line)
    except HubError as error:
        expect(isinstance(error, PermanentError))
        return

    # A part without rows is not written.
    kept = replace(record, rows={name: rows for name, rows in record.rows.items() if rows})
    assert from_line(to_line(record)) == kept


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-03-01"])
def test_a_time_that_is_none_of_utc_is_a_fault_of_the_line(at: str) -> None:
    line = json.loads(LINES.splitlines()[1])
    line["rows"]["inbox"][0]["received_at"] = at

    with pytest.raises(PermanentError):
        from_line(json.dumps(line).encode())


@pytest.mark.parametrize("line", [b"[" * 100_000, b'{"event":' * 100_000, b"\xff", b"{}", b"9" * 5_000])
def test_what_is_no_line_of_ours_is_a_fault_of_the_object(line: bytes) -> None:
    head = json.dumps(FORMAT).encode() + b"\n"

    with pytest.raises(PermanentError):
        list(unpack(gzip.compress(head + line)))
    with pytest.raises(PermanentError):
        list(unpack(gzip.compress(line)))


def test_a_stream_that_is_broken_inside_is_a_fault_of_the_object() -> None:
    for place in range(10, len(WHOLE) - 8):
        with pytest.raises(PermanentError):
            list(unpack(WHOLE[:place] + bytes((WHOLE[place] ^ 0x55,)) + WHOLE[place + 1 :]))


@fuzz(5)
@given(st.binary(max_size=50))
def test_random_bytes_are_no_object(content: bytes) -> None:
    with pytest.raises(PermanentError):
        list(unpack(content))
