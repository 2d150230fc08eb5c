"""Looking at events and acting on what waits for a person: events, parked, review, conflicts, check."""

from __future__ import annotations

import json

import pytest

from tests.integration.cli.commanding import BLOCK, BLOCK_TYPE, EXAMPLES, PURCHASE, PURCHASE_TYPE, Cli

CARD = json.loads(BLOCK.read_text())["cardInfo"]["cardNumber"]
TRANSFER = EXAMPLES / "transfer_in.json"
NOBODY = "0197f3a2-5c41-7d3e-8a53-0d7f4b1c9e10"


def _unreadable(cli: Cli) -> str:
    broken = cli.write("broken.json", '{"id": "a", "gateway": ')
    event_id: str = cli("publish", broken, "--source", "sepay", "--json").json["event_id"]
    return event_id


def test_events_are_listed_newest_first_and_found_by_what_is_known_of_them(cli: Cli) -> None:
    block, purchase = cli.publish(BLOCK, BLOCK_TYPE), cli.publish(PURCHASE, PURCHASE_TYPE)

    table = cli("events", "list")

    assert table.out.index(purchase) < table.out.index(block)
    for found, *wanted in (
        ([purchase, block], "--source", "loymax"),
        ([block], "--type", BLOCK_TYPE),
        ([block], "--key", "18"),
        ([purchase], "--id", purchase),
        ([], "--state", "parked"),
        ([purchase, block], "--since", "1h"),
        ([], "--since", "2999-01-01T00:00Z"),
        ([purchase], "--limit", "1"),
    ):
        assert [one["id"] for one in cli("events", "list", "--json", *wanted).json] == found
    assert "There are more: --before 2" in cli("events", "list", "--limit", 1).out


def test_one_event_is_shown_whole_and_masked(cli: Cli) -> None:
    event_id = cli.publish(PURCHASE, PURCHASE_TYPE)
    cli.deliver()

    sheet, shown = cli("events", "show", event_id), cli("events", "show", event_id[:13], "--json").json

    assert sheet.code == 0
    for word in ("applied", "apply-purchase", "loymax:purchase:512", "smart-communications", "sent"):
        assert word in sheet.words
    assert shown["state"] == "applied"
    assert {one["state"] for one in shown["messages"]} == {"sent"}
    changes = [posting["change_minor"] for entry in shown["postings"] for posting in entry["postings"]]
    assert changes
    assert {type(one) for one in changes} == {int}


def test_what_the_source_masks_is_shown_only_when_asked_for(cli: Cli) -> None:
    event_id = cli.publish(BLOCK, BLOCK_TYPE)

    masked = cli("events", "show", event_id).out + cli("events", "show", event_id, "--json").out

    assert CARD not in masked
    assert CARD in cli("events", "show", event_id, "--raw").out
    assert CARD in cli("events", "show", event_id, "--raw", "--json").out
    assert cli("events", "show", event_id, "--payload").out.encode() == BLOCK.read_bytes()


def test_an_unreadable_event_is_corrected_and_runs(cli: Cli) -> None:
    event_id = _unreadable(cli)
    still_broken = cli("parked", "retry", event_id)

    edited = cli("parked", "edit", event_id, TRANSFER, "--reason", "cut on its way", "--by", "ann", "--json")
    cli.deliver()

    assert still_broken.code == 2
    assert "still cannot be read" in still_broken.err
    assert [(one["route"], one["state"]) for one in edited.json] == [("settle-bank-transfer", "ready")]
    shown = cli("events", "show", event_id, "--json").json
    assert shown["state"] == "applied"
    assert [(one["corrected_by"], one["reason"]) for one in shown["corrections"]] == [("ann", "cut on its way")]
    assert cli("events", "show", event_id, "--payload", "--corrected").out.encode() == TRANSFER.read_bytes()


def test_a_parked_event_is_discarded_with_a_reason(cli: Cli) -> None:
    event_id = _unreadable(cli)
    number = cli("parked", "list", "--json").json[0]["delivery_id"]

    table = cli("parked", "list", "--source", "sepay")
    without_reason, blank = cli("parked", "discard", number), cli("parked", "discard", number, "--reason", " ")
    done = cli("parked", "discard", number, "--reason", "a test of the sender")

    assert event_id in table.out
    assert without_reason.code == blank.code == 2
    assert done.code == 0
    assert "discarded" in done.out
    assert cli("parked", "list").out == "Parked: none\n"
    assert "a test of the sender" in cli("events", "show", event_id).out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("events", "show", NOBODY), f"there is no event {NOBODY}"),
        (("events", "show", "12"), "at least its first 8 characters"),
        (("events", "list", "--state", "lost"), "expected a state of an event"),
        (("events", "list", "--since", "yesterday"), "or how long ago (90m, 2d), found 'yesterday'"),
        (("events", "list", "--since", "0001-01-01T00:00+23:00"), "--since: expected a time such as"),
        (("events", "replay", NOBODY), f"there is no event {NOBODY}"),
        (("parked", "retry", NOBODY), f"there is no event {NOBODY}"),
        (("parked", "list", "--source", "sepaj"), "'sepaj' is not known; did you mean 'sepay'?"),
        (("parked", "list", "--route", "apply-refnd"), "did you mean 'apply-refund'?"),
        (("parked", "edit", NOBODY, "/nowhere.json", "--reason", "x"), "/nowhere.json cannot be read"),
        (("review", "resolve", NOBODY, "--note", "x"), f"there is no event {NOBODY}"),
        (("conflicts", "resolve", NOBODY, "--note", "x"), f"there is no conflict {NOBODY}"),
        (("conflicts", "list", "--after", "x"), "--after: expected an id such as"),
        (("outbox", "retry", "7"), "there is no message 7"),
        (("outbox", "parked", "--destination", "fraud-dsk"), "did you mean 'fraud-desk'?"),
        (("events", "list", "--limit", "0"), "Invalid value for '--limit'"),
    ],
)
def test_what_is_not_there_is_refused_with_2_and_the_nearest_name(
    cli: Cli, arguments: tuple[object, ...], said: str
) -> None:
    answer = cli(*arguments)

    assert answer.code == 2
    assert said in answer.words


def test_a_replay_says_what_it_would_do_before_it_does_it(cli: Cli) -> None:
    event_id = cli.publish(BLOCK, BLOCK_TYPE)
    cli.deliver()

    plan, done = cli("events", "replay", event_id), cli("events", "replay", event_id, "--apply", "--json").json

    assert plan.code == 0
    assert "Nothing was done. To do it, add --apply." in plan.out
    assert {one["verdict"] for one in done["pairs"]} == {"done before"}


def test_a_replay_of_what_still_cannot_be_read_ends_with_1(cli: Cli) -> None:
    event_id = _unreadable(cli)

    answer = cli("events", "replay", event_id, "--json")

    assert answer.code == 1
    assert [one["verdict"] for one in answer.json["pairs"]] == ["unreadable"]


def test_a_result_to_look_at_is_listed_until_it_is_resolved(cli: Cli) -> None:
    event_id = cli.publish(TRANSFER, "", source="sepay")
    cli.deliver()

    table, [review] = cli("review", "list"), cli("review", "list", "--json").json
    resolved = cli("review", "resolve", event_id, "--note", "refunded", "--by", "ann", "--json").json

    assert event_id in table.out
    assert resolved == {"resolved": [review["delivery_id"]]}
    assert cli("review", "list").out == "To review: none\n"
    [kept] = cli("review", "list", "--all", "--json").json
    assert (kept["state"], kept["resolved_by"], kept["note"]) == ("resolved", "ann", "refunded")


def test_a_conflict_is_listed_until_it_is_resolved(cli: Cli) -> None:
    first = cli.publish(BLOCK, BLOCK_TYPE, "--id", "m-1")
    other = cli.write("other.json", json.loads(BLOCK.read_text()) | {"targetBlockState": False})
    cli("publish", other, "--source", "loymax", "--type", BLOCK_TYPE, "--id", "m-1")

    table, [conflict] = cli("conflicts", "list"), cli("conflicts", "list", "--json").json
    done = cli("conflicts", "resolve", conflict["id"], "--note", "the first one holds")

    assert first in table.out
    assert conflict["event_id"] == first
    assert done.code == 0
    assert cli("conflicts", "list", "--json").json == []
    assert len(cli("conflicts", "list", "--all", "--json").json) == 1


def test_everything_is_accounted_for(cli: Cli) -> None:
    cli.publish(BLOCK, BLOCK_TYPE, "--id", "m-1")
    cli.publish(BLOCK, BLOCK_TYPE, "--id", "m-1")
    _unreadable(cli)

    table, report = cli("check"), cli("check", "--json").json

    assert table.code == 0
    assert "Everything is accounted for, and the books add up." in table.out
    assert report["ok"]
    assert report["received"] == 3
    assert [(one["source"], one["received"], one["duplicates"], one["events"]) for one in report["sources"]] == [
        ("loymax", 2, 1, 1),
        ("sepay", 1, 0, 1),
    ]
    assert (report["states"]["waiting"], report["states"]["parked"]) == (1, 1)


def test_a_lost_row_is_found_and_ends_with_1(cli: Cli) -> None:
    cli.publish(BLOCK, BLOCK_TYPE)
    cli.sql("DELETE FROM deliveries")
    cli.sql("DELETE FROM inbox")

    table, report = cli("check"), cli("check", "--json")

    assert table.code == report.code == 1
    assert "DIFFERS" in table.out
    assert {one["sort"] for one in report.json["violations"]} >= {"received"}
