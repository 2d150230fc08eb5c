"""``hub prune`` and ``hub archive``: an event leaves the tables and is shown from the archive."""

from __future__ import annotations

from tests.integration.cli.commanding import BLOCK, BLOCK_TYPE, Cli

LONG_AGO = "'2020-01-01T00:00:00.000000Z'"


def test_a_pruned_event_is_shown_from_the_archive_and_nothing_else_can_be_done_with_it(cli: Cli) -> None:
    cli.set({"HUB_SEAL": "off"})
    event = cli.publish(BLOCK, BLOCK_TYPE)
    cli.deliver()
    cli.sql(f"UPDATE inbox SET received_at = {LONG_AGO}")
    cli.sql(f"UPDATE deliveries SET finished_at = {LONG_AGO}")
    cli.sql(f"UPDATE outbox SET created_at = {LONG_AGO}, sent_at = {LONG_AGO}")
    before = cli("events", "show", event, "--json").json

    assert cli("prune").code == 2
    assert "an hour or more" in cli("prune", "--older-than", "1m").words
    assert cli("prune", "--older-than", "1d", "--dry-run", "--json").json["events"] == 1
    assert cli.sql("SELECT count(*) FROM inbox") == [(1,)]
    assert "1 events of before" in cli("prune", "--older-than", "1d").words

    assert cli.sql("SELECT count(*) FROM inbox") == [(0,)]
    shown = cli("events", "show", event, "--json").json
    [name] = shown.pop("archived_in")
    assert shown == {key: value for key, value in before.items() if key != "archived_in"}
    assert f"archived in {name}" in cli("events", "show", event).words
    listed = cli("events", "list", "--id", event[:13], "--json").json
    assert [(one["id"], one["state"]) for one in listed] == [(event, "archived")]
    assert f"In the archive event number received {event}" in cli("events", "list", "--id", event).words
    assert cli("events", "list", "--json").json == []
    replayed = cli("events", "replay", event)
    assert (replayed.code, "is in the archive" in replayed.words) == (2, True)
    assert [one["name"] for one in cli("archive", "list", "--json").json] == [name]
    assert cli("archive", "verify", "--json").json == {"ok": True, "objects": 1, "events": 1, "faults": []}
    assert cli("archive", "index", "--json").json == {"names": 0}
    assert "1 in the archive" in cli("check").words
    proof = cli.home / "proof.json"
    proven = cli("prove", event[:20], "--out", str(proof))
    assert (proven.code, f"archive read from {name}" in proven.words) == (0, True), proven.words
    assert cli("verify", str(proof)).code == 0
    (cli.home / "archive" / name).unlink()
    assert "no such object" in cli("events", "show", event).words
    assert cli("archive", "verify").code == 1
