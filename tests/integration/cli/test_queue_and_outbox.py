"""``hub queue`` and ``hub outbox``: messages on their way out."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys

from tests.integration.cli.commanding import BLOCK, BLOCK_TYPE, PURCHASE, PURCHASE_TYPE, Cli
from tests.support.running import PROJECT

QUEUE = "smc.customerEvents"
CARD = json.loads(BLOCK.read_text())["cardInfo"]["cardNumber"]
FOLLOW_S_MAX = 120.0


def _two_messages(cli: Cli) -> None:
    cli.publish(BLOCK, BLOCK_TYPE)
    cli.publish(PURCHASE, PURCHASE_TYPE)
    cli.deliver()


def test_the_queues_are_listed_with_their_messages(cli: Cli) -> None:
    _two_messages(cli)

    table, listed = cli("queue", "list"), cli("queue", "list", "--json").json

    assert QUEUE in table.out
    counts = {one["name"]: one["messages"] for one in listed}
    assert (counts[QUEUE], counts["loymax.cards"], counts["fraud.purchases"]) == (2, 1, 0)


def test_messages_are_read_as_they_were_published_and_stay(cli: Cli) -> None:
    _two_messages(cli)

    first, second = cli("queue", "read", QUEUE, "--json").json

    assert set(first) == {"message_id", "routing_key", "headers", "payload_base64"}
    assert base64.b64decode(first["payload_base64"]) == BLOCK.read_bytes()
    assert (first["routing_key"], second["routing_key"]) == (BLOCK_TYPE, PURCHASE_TYPE)
    assert len(cli("queue", "read", QUEUE, "--json").json) == 2
    assert cli("queue", "read", QUEUE, "--json", "--limit", 1).json == [first]


def test_a_table_of_messages_masks_payloads_and_says_when_there_are_more(cli: Cli) -> None:
    _two_messages(cli)

    table, raw = cli("queue", "read", QUEUE, "--limit", 1), cli("queue", "read", QUEUE, "--raw")

    assert BLOCK_TYPE in table.out
    assert CARD not in table.out
    assert "1 more: --limit 2" in table.out
    assert CARD in raw.out


def test_exactly_the_named_messages_are_acknowledged_and_repeating_is_harmless(cli: Cli) -> None:
    _two_messages(cli)
    first, second = [one["message_id"] for one in cli("queue", "read", QUEUE, "--json").json]

    done = cli("queue", "read", QUEUE, "--ack", first, "--json").json
    again = cli("queue", "read", QUEUE, "--ack", first, second)

    assert done == {"acknowledged": [first], "not_in_queue": []}
    assert again.code == 0
    assert "Acknowledged in smc.customerEvents: 1" in again.out
    assert f"{first} is not in the queue" in again.out
    assert cli("queue", "read", QUEUE, "--json").json == []
    assert "no messages" in cli("queue", "read", QUEUE).out


def test_a_wrong_name_or_ids_without_ack_are_refused(cli: Cli) -> None:
    _two_messages(cli)

    mistyped, ids = cli("queue", "read", "smc.customerEvent"), cli("queue", "read", QUEUE, "one", "two")

    assert mistyped.code == ids.code == 2
    assert "there is no queue 'smc.customerEvent'; did you mean 'smc.customerEvents'?" in mistyped.err
    assert "write --ack before them" in ids.err


def test_following_a_queue_prints_a_line_for_each_message_until_it_is_stopped(cli: Cli) -> None:
    _two_messages(cli)
    command = [sys.executable, "-m", "hub", "queue", "read", QUEUE, "--follow", "--json"]

    with subprocess.Popen(
        command,
        cwd=PROJECT,
        env=cli.process_environ,
        stdout=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in the background has them ignore it, and their children too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    ) as follower:
        assert follower.stdout is not None
        lines = [json.loads(follower.stdout.readline()) for _ in range(2)]
        cli.publish(BLOCK, BLOCK_TYPE, "--id", "later")
        cli.deliver()
        lines.append(json.loads(follower.stdout.readline()))
        follower.send_signal(signal.SIGINT)
        code = follower.wait(FOLLOW_S_MAX)

    assert [one["routing_key"] for one in lines] == [BLOCK_TYPE, PURCHASE_TYPE, BLOCK_TYPE]
    assert code == 0


def test_a_follower_may_stop_after_a_number_of_messages(cli: Cli) -> None:
    _two_messages(cli)

    answer = cli("queue", "read", QUEUE, "--follow", "--limit", 2)

    assert answer.code == 0
    assert len(answer.out.splitlines()) == 2


def test_a_message_that_no_queue_takes_is_listed_retried_and_discarded(cli: Cli) -> None:
    cli.publish(cli.use_shop(), "order.paid", source="shop")
    cli.deliver()

    table, [parked] = cli("outbox", "parked"), cli("outbox", "parked", "--destination", "nowhere", "--json").json
    retried = cli("outbox", "retry", parked["seq"], "--json").json
    cli.deliver()
    discarded = cli("outbox", "discard", parked["seq"], "--reason", "nobody wants it")

    assert "nowhere" in table.out
    assert parked["behind"] == 0
    assert retried == {"number": parked["seq"], "done": "retried"}
    assert discarded.code == 0
    assert cli("outbox", "parked").out == "Parked messages: none\n"
    assert cli("outbox", "discard", parked["seq"]).code == 2
