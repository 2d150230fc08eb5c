"""Every event of a run is proven from its stored rows, and a proof that was touched is not one any more."""

from __future__ import annotations

import copy
import json
import os
import random
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from hub.errors import UsageError
from hub.operate.lookup import ArchivedError
from hub.prove.document import SealedBlocks, proof_in, proof_of, without_content
from hub.prove.offline import NotAProofError, judge
from hub.retention.archive import Archive
from hub.retention.pruning import Pruner
from hub.seal.verifying import verify_seal
from hub.seal.witness import SealWitness
from hub.storage import Storage, StoragePlace
from hub.store import tables as t
from hub.store.store import Store
from tests.integration.seal.till import look, seal_all, sell, till

IS_LONG = os.environ.get("HUB_TEST_LONG", "0") != "0"
"""The 100,000 events may take longer than a test may: run them with ``-o timeout=0 -o faulthandler_timeout=0``."""
EVENTS = 150
AT_ONCE = 1_500
"""Fewer than an inbox takes in hand."""
SALES_SHARE = 10
"""One event in so many is a sale: three deliveries, a call, an entry, two messages. The others are forwarded."""


def failing(proof: Any) -> list[str]:
    return [f"{one.step}: {one.detail}" for one in judge(proof) if not one.ok]


async def test_every_event_of_a_run_is_proven(store: Store) -> None:
    count = 100_000 if IS_LONG else EVENTS
    async with till(store) as parts:
        for start in range(0, count, AT_ONCE):
            together = min(AT_ONCE, count - start)
            await look(parts, together * (SALES_SHARE - 1) // SALES_SHARE)
            await sell(parts, together // SALES_SHARE, first=start)
        events = [(row.id, row.type) for row in await parts.rows(t.inbox)]
        assert len(events) == count
        await seal_all(store, parts.clock)

        blocks, expected = SealedBlocks(), {"sale.made": [3, 1, 1, 2], "sale.looked": [1, 0, 0, 1]}
        for event_id, type_ in events:
            proof = await proof_of(store, str(event_id), now=parts.clock.now(), blocks=blocks)
            found = judge(proof)
            steps = [one.step for one in found]
            assert [one for one in found if not one.ok] == []
            assert [steps.count(name) for name in ("rule", "call", "entry", "message")] == expected[type_]
            assert len(proof["seal"]["paths"]) == len(proof["rows"])
    report = await verify_seal(store)
    assert report.holds
    assert sum(report.unsealed.values()) == 0


@pytest.fixture
async def proof(store: Store) -> dict[str, Any]:
    async with till(store) as parts:
        await sell(parts, 3)
        await seal_all(store, parts.clock)
        event: UUID = (await parts.rows(t.inbox))[1].id
        return await proof_of(store, str(event), now=parts.clock.now())


async def test_a_proof_tells_each_step_and_holds_without_its_content(proof: dict[str, Any]) -> None:
    told = {one.step: one.detail for one in judge(proof)}

    assert told["call"].startswith("bank.charge#1 under key ")
    assert "(of event, route and step): settled" in told["call"]
    assert "1001 VND from sales to till; 1001 VND from customer:c1 to till" in told["entry"]
    assert told["seal"].endswith("follow to their blocks, 0 are not sealed")
    withheld = without_content(json.loads(json.dumps(proof)))
    assert failing(withheld) == []
    shown = {field["name"] for row in withheld["rows"] for field in row["fields"] if "content" in field}
    assert shown == {"outcome", "data"}


async def test_any_change_of_a_field_of_a_proof_is_found(proof: dict[str, Any]) -> None:
    chance = random.Random(7)
    for row in range(len(proof["rows"])):
        for place in range(len(proof["rows"][row]["fields"])):
            touched = copy.deepcopy(proof)
            field = touched["rows"][row]["fields"][place]
            field.pop("content", None)
            value = field["value"]
            match value:
                case None:
                    field["value"] = {"int": 5, "time": 5, "bool": False, "text": "x", "uuid": "0" * 32}.get(
                        field["type"], "0" * 64
                    )
                case bool():
                    field["value"] = not value
                case int():
                    field["value"] = value + 1
                case _:
                    at = chance.randrange(max(1, len(value)))
                    field["value"] = value[:at] + ("0" if value[at : at + 1] != "0" else "1") + value[at + 1 :]
            try:
                found = failing(touched)
            except NotAProofError:
                continue
            assert found, f"{touched['rows'][row]['kind']} {field['name']}"


async def test_a_row_that_is_taken_out_of_a_proof_or_of_the_tables_is_missed(proof: dict[str, Any]) -> None:
    for row in range(1, len(proof["rows"])):
        touched = copy.deepcopy(proof)
        del touched["rows"][row]

        assert any("was sealed and is not there" in one for one in failing(touched)), proof["rows"][row]["kind"]


async def test_an_archived_event_is_proven_as_before_by_the_leaves_that_the_seal_has_kept(
    store: Store, tmp_path: Path
) -> None:
    storage = Storage(StoragePlace(place=str(tmp_path)))
    async with till(store) as parts:
        await sell(parts, 3)
        await seal_all(store, parts.clock)
        event: UUID = (await parts.rows(t.inbox))[1].id
        now = parts.clock.now()
        before = await proof_of(store, str(event), now=now)
        pruner = Pruner(store, storage, parts.clock, witness=SealWitness(parts.clock))
        report = await pruner.run(timedelta(0))
        assert report.events == 3
        with pytest.raises(ArchivedError):
            await proof_of(store, str(event), now=now)

        where, proof = await Archive(store, storage).look(event, lambda conn: proof_in(conn, event, now=now))

        assert await parts.rows(t.inbox) == []
    assert [one.name for one in await Archive(store, storage).objects(limit=9)] == list(where)
    assert (proof["identities"], proof["routes"]) == (before["identities"], before["routes"])
    assert proof["seal"]["paths"] == before["seal"]["paths"]
    assert len(proof["seal"]["paths"]) == len(proof["rows"])
    assert failing(proof) == []


async def test_an_unknown_event_has_no_proof(store: Store) -> None:
    async with till(store) as parts:
        with pytest.raises(UsageError, match="there is no event"):
            await proof_of(store, "0197f3a2-5c41", now=parts.clock.now())
