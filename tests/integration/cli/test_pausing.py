"""``hub pause``, ``hub resume`` and ``hub providers``: who lets what stand still, and how people see it."""

from __future__ import annotations

from tests.integration.cli.commanding import BLOCK, BLOCK_TYPE, Cli

ROUTE, DESTINATION = "member-events-to-smart-communications", "smart-communications"


def test_a_paused_route_is_seen_everywhere_and_goes_on_where_it_stood(cli: Cli) -> None:
    paused = cli("pause", "route", ROUTE, "--reason", "a drill", "--by", "anna")
    cli("pause", "destination", DESTINATION, "--for", "2h", "--json")
    event = cli.publish(BLOCK, BLOCK_TYPE)

    listed = cli("pause", "list", "--json").json
    shown = cli("events", "show", event)
    explained = cli("explain", event)

    assert f"route {ROUTE} paused since" in paused.words
    assert [(one["kind"], one["cause"], one["until"] is None) for one in listed] == [
        ("destination", "person", False),
        ("route", "person", True),
    ]
    assert f"stands still route {ROUTE} paused since" in shown.words
    assert "by anna because a drill" in shown.words
    assert "by anna because a drill" in explained.words
    assert f"destination {DESTINATION} paused since" in explained.words

    for kind, name in (("route", ROUTE), ("destination", DESTINATION)):
        assert f"Going on: {kind} {name}" in cli("resume", kind, name).out
    cli.deliver()
    assert len(cli("queue", "read", "smc.customerEvents", "--json").json) == 1
    assert cli("pause", "list").out.strip() == "Standing still: nothing"


def test_slips_are_refused_and_say_what_was_meant(cli: Cli) -> None:
    assert "did you mean" in cli("pause", "route", f"{ROUTE}x").err
    assert "expected a duration" in cli("pause", "destination", DESTINATION, "--for", "2").err
    again = cli("resume", "destination", DESTINATION)
    assert (again.code, "No row says that" in again.out) == (0, True)
    working = cli("providers", "list", "--json")
    assert (working.code, {one["state"] for one in working.json}) == (0, {"working"})
    for transfer, code in (("NOPE", 2), ("4711", 1)):
        unknown = cli("sepay", "unmatched", "settle", transfer, "--note", "a slip")
        assert (unknown.code, "hub sepay unmatched list" in unknown.words) == (code, True)
