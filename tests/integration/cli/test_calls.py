"""``hub calls``: what nobody has answered for, and a person who has found out."""

from __future__ import annotations

from tests.integration.cli.commanding import BLOCK, BLOCK_TYPE, Cli


def test_a_call_that_was_left_is_listed_until_somebody_says_what_became_of_it(cli: Cli) -> None:
    event = cli.publish(BLOCK, BLOCK_TYPE)
    cli.deliver()
    [(delivery,)] = cli.sql("SELECT min(id) FROM deliveries")
    assert cli("calls", "list").out.strip() == "Unknown outcomes: every call has an outcome"
    cli.sql(
        "INSERT INTO calls (delivery_id, step, number, provider, key, request_hash, state, started_at, lookups)"
        f" VALUES ({delivery}, 'give', 1, 'acme', 'k-1', x'00', 'started', '2026-01-01T00:00:00.000000Z', 0)"
    )

    [one] = cli("calls", "list", "--json").json
    told = cli("calls", "list", "--provider", "acme")
    elsewhere = cli("calls", "list", "--provider", "bank", "--json").json
    unsaid = cli("calls", "close", event)
    closed = cli("calls", "close", delivery, "--reason", "it was paid", "--by", "ana")
    again = cli("calls", "close", event, "--reason", "it was paid")

    assert (one["event_id"], one["state"], one["delivery_state"], one["key"]) == (event, "started", "done", "k-1")
    assert "acme.give#1" in told.words
    assert elsewhere == []
    assert (unsaid.code, "expected a reason" in unsaid.words) == (2, True)
    assert (closed.code, closed.out.strip()) == (0, "Closed: acme.give#1 (started)")
    assert (again.code, "somebody has answered for it" in again.words) == (2, True)
    assert cli("calls", "list", "--json").json == []
    assert "ana" in cli("events", "show", event).words
