"""``hub routes``: lists, tests and draws the rules, also where no secret is set."""

from __future__ import annotations

from tests.integration.cli.commanding import SHOP, Cli


def test_the_rules_are_listed_with_what_they_take_and_do(cli: Cli) -> None:
    table, listed = cli("routes", "list"), cli("routes", "list", "--json").json

    assert "large-purchases-to-fraud-desk" in table.out
    assert "purchaseData.amount >= 1000000.0" in table.words
    [one] = [route for route in listed if route["name"] == "apply-refund"]
    assert one == {
        "name": "apply-refund",
        "source": ["loymax"],
        "match": ["purchases.refundModelUpdate"],
        "when": None,
        "handle": "loyalty.apply_refund",
        "publish": ["loyalty"],
        "disabled": False,
        "examples": 1,
    }


def test_the_projects_examples_hold_and_need_no_secret(cli: Cli) -> None:
    for name in ("HUB_SANDBOX", "SEPAY_WEBHOOK_API_KEY", "HUB_API_KEY", "HUB_JWT_SECRET"):
        cli.unset(name)

    table, report = cli("routes", "test"), cli("routes", "test", "--json").json

    assert table.code == 0
    assert f"{len(report['examples'])} of {len(report['examples'])} examples hold" in table.out
    assert report["ok"]
    assert report["covered_share"] == 1.0
    assert not (cli.home / "secrets").exists()


def test_an_example_that_fails_is_named_with_its_place_and_ends_with_1(cli: Cli) -> None:
    cli.use_shop()
    cli.write("routing.yaml", SHOP.replace("type: order.paid }]", "type: order.paid, matches: false }]"))
    cli.unset("SHOP_KEY")

    table, report = cli("routes", "test"), cli("routes", "test", "--json")

    assert table.code == report.code == 1
    assert "FAILED" in table.out
    assert "routing.yaml:13:" in table.out
    assert [(one["expected"], one["matched"], one["line"]) for one in report.json["examples"]] == [(False, True, 13)]


def test_a_route_without_an_example_and_a_slip_are_told_without_failing(cli: Cli) -> None:
    cli.use_shop()
    lone = "  - { name: lone, match: order.lost, source: shop, publish: nowhere }\n"
    cli.write("routing.yaml", SHOP + lone)

    answer = cli("routes", "test")

    assert answer.code == 0
    assert "1 of 2 routes are shown at work by an example" in answer.out
    assert "without an example: lone" in answer.out


def test_the_wiring_is_drawn_for_mermaid(cli: Cli) -> None:
    drawing, as_json = cli("routes", "graph"), cli("routes", "graph", "--json").json

    assert drawing.out.startswith("flowchart LR\n")
    assert as_json == {"mermaid": drawing.out}


def test_a_mistake_in_routing_yaml_is_told_with_line_and_column(cli: Cli) -> None:
    cli.use_shop()
    cli.write("routing.yaml", SHOP.replace("publish: nowhere", "publish: nowere").replace("mask:", "maskk:"))

    answer = cli("routes", "list")

    assert answer.code == 2
    assert answer.out == ""
    assert "routing.yaml:6:5: unknown field 'maskk'; did you mean 'mask'?" in answer.err


def test_a_file_that_is_no_yaml_or_is_not_there_is_told(cli: Cli) -> None:
    cli.use_shop()
    cli.write("routing.yaml", "version: 1\nsources: {\n")

    broken = cli("routes", "list")
    cli.set({"HUB_ROUTING": "/nowhere/routing.yaml"})
    missing = cli("routes", "list")

    assert broken.code == missing.code == 2
    assert "routing.yaml:3:1: expected YAML" in broken.err
    assert "/nowhere/routing.yaml: cannot be read: No such file or directory" in missing.err
