"""From the command line: proofs, the seal, and replays that are seen first."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from hub.clock import SystemClock
from hub.store.store import Store
from tests.integration.cli.commanding import BLOCK, BLOCK_TYPE, PURCHASE, PURCHASE_TYPE, Cli
from tests.integration.seal.till import seal_all

CARD = json.loads(BLOCK.read_text())["cardInfo"]["cardNumber"]


def seal(cli: Cli) -> None:
    """As a hub does that runs for some seconds."""

    async def work() -> None:
        store = Store.open(f"sqlite+aiosqlite:///{cli.home / 'hub.db'}", pool_size=2)
        await seal_all(store, SystemClock())
        await store.close()

    asyncio.run(work())


def test_an_event_is_proven_and_its_proof_is_verified_by_others(cli: Cli, tmp_path: Path) -> None:
    event_id, other = cli.publish(BLOCK, BLOCK_TYPE), cli.publish(PURCHASE, PURCHASE_TYPE)
    cli.deliver()
    seal(cli)
    file = tmp_path / "proof.json"

    proven = cli("prove", event_id, "--out", file)
    verified = cli("verify", file)
    as_json = cli("prove", other, "--json").json

    assert (proven.code, verified.code) == (0, 0)
    assert "the sender was judged trusted" in proven.words
    assert "takes it" in proven.words
    assert "Everything agrees." in verified.words
    assert CARD not in file.read_text()
    assert CARD in json.dumps(json.loads(cli("events", "show", event_id, "--raw", "--json").out))
    assert as_json["ok"]
    assert cli("verify", cli.write("whole.json", as_json)).code == 0
    file.write_text(file.read_text().replace('"value": "loymax"', '"value": "another"'))
    assert "NOT" in cli("verify", file).words
    assert cli("verify", file).code == 1
    for arguments in (("verify",), ("verify", file, "--seal"), ("verify", file, "--head", "0" * 12)):
        assert cli(*arguments).code == 2
    assert cli("verify", cli.write("none.json", {"format": 1})).code == 2


def test_the_seal_names_what_was_changed_behind_the_hub(cli: Cli) -> None:
    event_id = cli.publish(BLOCK, BLOCK_TYPE)
    cli.deliver()
    assert "Nothing is sealed yet." in cli("verify", "--seal").words
    seal(cli)
    sound = cli("verify", "--seal", "--json").json
    head = sound["head"]["hash"]

    assert sound["ok"]
    assert sound["members"] >= 2
    assert "0 blocks came after it" in cli("verify", "--seal", "--head", head[:16]).words
    assert cli("verify", "--seal", "--head", "f" * 16).code == 1
    assert cli("verify", "--seal", "--head", "block").code == 2
    cli.sql("UPDATE inbox SET routing_key = 'another'")
    found = cli("verify", "--seal", "--json")
    assert found.code == 1
    assert [(one["sort"], one["subject"]) for one in found.json["findings"]] == [("changed", "event 1")]
    assert cli("prove", event_id).code == 1


def test_many_events_are_replayed_by_conditions_and_seen_before(cli: Cli) -> None:
    cli.publish(BLOCK, BLOCK_TYPE)
    cli.publish(PURCHASE, PURCHASE_TYPE)
    cli.deliver()

    plan = cli("events", "replay", "--type", BLOCK_TYPE, "--json").json
    seen = cli("events", "replay", "--source", "loymax", "--since", "1h", "--preview", "--json").json
    told = cli("events", "replay", "--source", "loymax", "--preview", "--limit", 1)

    assert {one["verdict"] for one in plan["pairs"]} == {"done before"}
    assert (seen["events"], seen["corrected"]) == (2, [])
    # A purchase that is applied is found in a table of the handler's own, and not applied again.
    assert {(one["route"], one["what"]) for one in seen["differences"]} == {
        ("apply-purchase", "not made now"),
        ("apply-purchase", "differs"),
    }
    assert {one["verdict"] for one in seen["pairs"]} == {"done before"}
    assert "1 events were rehearsed; nothing of it was kept." in told.words
    for arguments in (
        (),
        ("--source", "loymax", "0197f3a2"),
        ("--type", BLOCK_TYPE, "--correct"),
        ("--type", BLOCK_TYPE, "--correct", "--apply"),
        ("--type", BLOCK_TYPE, "--route", "nobody"),
        ("--until", "tomorrow"),
    ):
        assert cli("events", "replay", *arguments).code == 2, arguments
