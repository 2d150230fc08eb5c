"""``hub publish`` and ``hub explain``: one event out of a file, accepted or only looked at."""

from __future__ import annotations

import json

import pytest

from tests.integration.cli.commanding import BLOCK, BLOCK_TYPE, EXAMPLES, PURCHASE, PURCHASE_TYPE, Cli

PUBLISH = ("publish", BLOCK, "--source", "loymax", "--type", BLOCK_TYPE)


def test_an_event_is_accepted_and_the_answer_names_it_and_its_routes(cli: Cli) -> None:
    answer = cli(*PUBLISH)

    event_id = cli("events", "list", "--json").json[0]["id"]
    assert answer.code == 0
    assert f"event {event_id}" in answer.out
    assert "member-events-to-smart-communications, cards-to-their-queue" in answer.out


def test_the_same_message_again_is_a_duplicate_of_the_first(cli: Cli) -> None:
    first = cli(*PUBLISH, "--id", "m-1", "--json").json

    again = cli(*PUBLISH, "--id", "m-1", "--json").json

    assert (first["kind"], again["kind"]) == ("event", "duplicate")
    assert again["event_id"] == first["event_id"]
    assert again["routes"] == []


def test_other_content_under_one_id_is_a_conflict_and_ends_with_1(cli: Cli) -> None:
    cli(*PUBLISH, "--id", "m-1")
    other = cli.write("other.json", json.loads(BLOCK.read_text()) | {"targetBlockState": False})

    answer = cli("publish", other, "--source", "loymax", "--type", BLOCK_TYPE, "--id", "m-1")

    assert answer.code == 1
    assert "conflict" in answer.out


def test_what_cannot_be_read_is_stored_parked_and_ends_with_1(cli: Cli) -> None:
    broken = cli.write("broken.json", '{"id": 1,\n  "id": 2}')

    answer = cli("publish", broken, "--source", "sepay", "--json")

    assert answer.code == 1
    assert answer.json["kind"] == "unreadable"
    assert "line 2" in answer.json["problem"]
    assert cli("parked", "list", "--json").json[0]["event_id"] == answer.json["event_id"]


def test_a_message_may_come_from_standard_input_with_headers(cli: Cli) -> None:
    body = BLOCK.read_bytes()

    answer = cli(
        *("publish", "-", "--source", "loymax", "--type", BLOCK_TYPE, "--json"),
        *("--header", "X-Shop=one", "--header", "content-type=application/vnd.shop+json", "--header", "x-api-key=hush"),
        stdin=body,
    )

    event = cli("events", "show", answer.json["event_id"], "--json").json
    assert event["headers"] == {"x-shop": "one"}
    assert event["content_type"] == "application/vnd.shop+json"
    assert cli("events", "show", event["id"], "--payload").out.encode() == body


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("publish", "/nowhere.json", "--source", "loymax"), "/nowhere.json cannot be read: No such file"),
        (("publish", BLOCK, "--source", "loymx"), "there is no source 'loymx'; did you mean 'loymax'?"),
        (("publish", BLOCK, "--source", "loymax", "--header", "novalue"), "expected name=value, found 'novalue'"),
        (("publish", BLOCK, "--source", "loymax", "--header", "bad name=1"), "expected a header name"),
        (("publish", BLOCK), "Missing option '--source'"),
        (("explain", BLOCK), "name the source that would send it, with --source"),
        (("explain", "nothing-there"), "neither a file that is there nor the id of an event"),
        (("explain", "0197f3a2-5c41-7d3e-8a53-0d7f4b1c9e10"), "there is no event 0197f3a2"),
        (("explain", BLOCK, "--source", "loymx"), "did you mean 'loymax'?"),
    ],
)
def test_a_wrong_call_is_refused_with_2_and_stores_nothing(cli: Cli, arguments: tuple[object, ...], said: str) -> None:
    answer = cli(*arguments)

    assert answer.code == 2
    assert said in answer.words
    assert cli("events", "list", "--json").json == []


def test_a_file_is_explained_with_rules_and_predicted_postings_and_nothing_stays(cli: Cli) -> None:
    call = ("explain", PURCHASE, "--source", "loymax", "--type", PURCHASE_TYPE)

    table, shown = cli(*call), cli(*call, "--json").json

    assert table.code == 0
    assert "large-purchases-to-fraud-desk" in table.out
    assert "purchaseData.amount >= 1000000.0 is false" in table.words
    assert "loymax:purchase:512" in table.out
    assert shown["ok"]
    assert cli("events", "list", "--json").json == []
    assert cli("ledger", "entries", "--json").json == []


def test_explaining_needs_no_provider_secret_and_hides_what_the_source_masks(cli: Cli) -> None:
    for name in ("HUB_SANDBOX", "SEPAY_WEBHOOK_API_KEY"):
        cli.unset(name)
    card = json.loads(BLOCK.read_text())["cardInfo"]["cardNumber"]
    call = ("explain", BLOCK, "--source", "loymax", "--type", BLOCK_TYPE, "--json")

    masked, raw = cli(*call), cli(*call, "--raw")

    assert masked.code == raw.code == 0
    assert card not in masked.out
    assert card in raw.out


def test_what_no_route_takes_or_nobody_can_read_ends_with_1(cli: Cli) -> None:
    cli.use_shop()
    order = cli.write("order.json", {"id": "o-1"})

    untaken = cli("explain", order, "--source", "shop", "--type", "order.lost")
    unreadable = cli("explain", "-", "--source", "shop", "--type", "order.paid", "--json", stdin=b"{")

    assert untaken.code == unreadable.code == 1
    assert not unreadable.json["ok"]


def test_a_stored_event_is_explained_by_the_beginning_of_its_id(cli: Cli) -> None:
    event_id = cli.publish(EXAMPLES / "transfer_in.json", "", source="sepay")
    cli.deliver()

    answer = cli("explain", event_id[:18], "--json")

    assert answer.json["event"]["id"] == event_id
    assert answer.json["recorded"]["deliveries"][0]["state"] == "done"
