# ruff: noqa: E501  a warning is one line
"""Examples, coverage, slips, the graph and the editor's schema."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from hub.errors import UsageError
from hub.event import Event
from hub.routing import ExampleConfig, LoadedRouting, RouteConfig, check_rules, load_routing, mermaid
from hub.routing.schema import SCHEMA_FILE, routing_schema, schema_text
from tests.unit.routing.build import DATA, ENVIRON, event, load, rules


@pytest.fixture
def realistic() -> LoadedRouting:
    return load_routing(DATA / "routing.yaml", environ=ENVIRON)


def slips(*routes: str) -> list[str]:
    loaded = rules(*routes)
    return [
        str(warning).removeprefix("routing.yaml:")
        for warning in check_rules(loaded).warnings
        if "no route publishes to" not in str(warning) and "no route takes what" not in str(warning)
    ]


def test_the_examples_of_the_realistic_file_hold(realistic: LoadedRouting) -> None:
    report = check_rules(realistic)

    assert report.ok
    assert [(example.route, example.expected) for example in report.examples] == [
        ("settle-bank-transfer", True),
        ("large-purchases-to-fraud-desk", True),
        ("large-purchases-to-fraud-desk", False),
        ("member-events-to-smart-communications", True),
    ]
    assert report.uncovered == ("give-bonus", "sweep-intents")
    assert report.covered_share == pytest.approx(4 / 6)
    assert [str(warning).split("routing.yaml:")[1] for warning in report.warnings] == [
        "114:3: no route takes what 'schedule.daily-report' sends: its events would all be unmatched",
    ]


def test_an_example_that_does_not_hold_says_what_decided(tmp_path: Path) -> None:
    (tmp_path / "small.json").write_text('{"amount": 1.50}')
    (tmp_path / "empty.json").write_text("{}")
    text = """version: 1
sources: { shop: { post_events: true, event: { type: routing_key } } }
destinations: { out: { queue: out } }
routes:
  - name: large
    match: order.paid
    when: data.amount > 5.0
    publish: out
    examples: [{ file: small.json }, { file: empty.json, matches: false }, { file: none.json }]
"""
    (tmp_path / "routing.yaml").write_text(text)

    report = check_rules(load_routing(tmp_path / "routing.yaml", environ={}))

    small, empty, missing = report.examples
    assert not report.ok
    assert (small.matched, small.detail) == (False, "data.amount > 5.0 is false (data.amount = 1.50)")
    assert (small.place.line, small.place.column) == (9, 16)
    assert empty.matched is None
    assert "the field 'amount' is missing" in empty.detail
    assert missing.matched is None
    assert missing.detail.endswith("none.json cannot be read: No such file or directory")
    assert report.coverage[0].is_covered
    assert not report.coverage[0].lacks_counterexample


def test_examples_can_be_built_by_someone_else(realistic: LoadedRouting) -> None:
    asked: list[str] = []

    def build(loaded: LoadedRouting, route: RouteConfig, example: ExampleConfig) -> Event:
        asked.append(example.file)
        if route.name == "settle-bank-transfer":
            raise UsageError("no")
        return event("purchases.confirm.modelUpdate", "{}", source="loymax")

    report = check_rules(realistic, build=build)

    assert len(asked) == 4
    assert report.examples[0].detail == "no"


def test_an_example_whose_source_or_type_is_not_clear_says_what_to_add() -> None:
    loaded = rules(
        "name: a, match: 'order.*', source: shop, publish: out, examples: [{ file: build.py }]",
        "name: b, match: order.paid, publish: other, examples: [{ file: build.py }]",
    )
    loaded = LoadedRouting(loaded.config, Path(__file__).with_name("routing.yaml"), loaded.places)

    details = [example.detail for example in check_rules(loaded).examples]

    assert details == [
        "the route matches more than one type: name the example's with type:",
        "more than one source can send this: name it with source: shop, till",
    ]


def test_a_rule_that_no_source_can_feed_is_a_warning() -> None:
    text = """version: 1
sources:
  bank: { post_events: true, event: { type: transfer.received } }
  crm:
    queue: { exchange: crm, name: hub.crm, bind: [member.*] }
    event: { type: routing_key, rename: { "mеmber.gone": member.left } }
destinations: { out: { queue: out }, two: { queue: two } }
routes:
  - { name: a, match: transfer.recieved, publish: out }
  - { name: b, match: [member.joined, member.left, member.card.lost], publish: out }
  - { name: c, match: member.joined, source: bank, publish: two }
  - { name: d, match: "mеmber.gone", source: crm, publish: two }
  - { name: e, match: transfer.received, when: 1 > 2, publish: two }
schedules: { sweep: { every: 1m, emit: sweep.due } }
"""
    warnings = [str(warning) for warning in check_rules(load(text)).warnings]

    assert warnings == [
        "routing.yaml:9:23: this can never match: no source can send an event of type 'transfer.recieved'",
        "routing.yaml:10:52: this can never match: no source can send an event of type 'member.card.lost'",
        "routing.yaml:11:23: this can never match: 'bank' cannot send an event of type 'member.joined'",
        "routing.yaml:12:23: this can never match: the source 'crm' renames 'mеmber.gone' to 'member.left'",
        "routing.yaml:14:14: no route takes what 'schedule.sweep' sends: its events would all be unmatched",
        "routing.yaml:13:48: this is always false: the route can never match",
        "routing.yaml:12:23: 'mеmber.gone' holds 'е' (U+0435, cyrillic small letter ie), which looks like the ASCII 'e'",
    ]


def test_what_handlers_emit_counts_as_a_source() -> None:
    loaded = load(
        "version: 1\ncapabilities: [handlers.shop]\ndestinations: { out: { queue: out } }\n"
        "routes: [{ name: a, match: order.done, publish: out }, { name: b, match: order.gone, publish: out }]\n"
    )

    assert check_rules(loaded).warnings == ()
    assert [warning.column for warning in check_rules(loaded, emitted=["order.done"]).warnings] == [74]


def test_a_pattern_that_adds_nothing_is_a_warning() -> None:
    assert slips("name: a, match: [order.paid, 'order.#', order.paid, 'order.*', till.open], publish: out") == [
        "10:24: the pattern 'order.paid' adds nothing: 'order.#' matches all of it already",
        "10:47: the pattern 'order.paid' stands twice in this list",
        "10:59: the pattern 'order.*' adds nothing: 'order.#' matches all of it already",
    ]


def test_two_routes_that_send_one_event_to_one_place_are_a_warning() -> None:
    assert slips(
        "name: a, match: 'order.*', publish: out", "name: b, match: [x.y, '*.paid'], publish: [other, out]"
    ) == ["11:23: an event of type 'order.paid' reaches the exchange hub.out twice: the route 'a' matches it too"]
    assert slips("name: a, match: x.y, handle: s.h", "name: b, match: x.y, handle: s.h") == [
        "11:23: an event of type 'x.y' reaches the handler s.h twice: the route 'a' matches it too"
    ]


@pytest.mark.parametrize(
    "second",
    [
        "name: b, match: x.z, publish: out",
        "name: b, match: x.y, publish: other",
        "name: b, match: x.y, publish: out, source: till",
        "name: b, match: x.y, publish: out, when: data.amount < 5.0",
        "name: b, match: x.y, publish: out, handle: s.h",
        "name: b, match: x.y, publish: out, disabled: true",
    ],
)
def test_routes_that_are_meant_to_differ_are_no_warning(second: str) -> None:
    first = "name: a, match: x.y, publish: out, source: shop, when: data.amount >= 5.0"

    assert slips(first, second) == []


def test_a_queue_that_is_read_again_makes_a_circle() -> None:
    loaded = load(
        "version: 1\n"
        "sources: { back: { queue: { name: q }, event: { type: routing_key } } }\n"
        "destinations: { out: { queue: q } }\n"
        "routes: [{ name: a, match: x.y, publish: out }]\n"
    )

    assert [str(warning) for warning in check_rules(loaded).warnings] == [
        "routing.yaml:4:42: events go round in a circle: the source 'back' reads the queue 'q' again"
    ]


def test_very_many_rules_are_compared_only_up_to_a_bound() -> None:
    wide = [f"name: r{number}, match: 'x{number}.*', publish: out" for number in range(220)]

    assert slips(*wide) == ["10:3: only the first 20000 pairs of routes were compared for overlaps"]


def test_a_foreign_letter_is_named_with_its_code_point_and_its_look_alike() -> None:
    assert slips("name: a, match: сustomer.card.ⅽhange, publish: out", "name: b, match: thẻ.đổi, publish: out") == [
        "10:23: 'сustomer.card.ⅽhange' holds 'с' (U+0441, cyrillic small letter es), which looks like the ASCII 'c'; "
        "'ⅽ' (U+217D, small roman numeral one hundred), which looks like the ASCII 'c'",
        "11:23: 'thẻ.đổi' holds 'ẻ' (U+1EBB, latin small letter e with hook above), which looks like the ASCII 'e'; "
        "'đ' (U+0111, latin small letter d with stroke); "
        "'ổ' (U+1ED5, latin small letter o with circumflex and hook above), which looks like the ASCII 'o'",
    ]


def test_the_left_side_of_a_rename_may_hold_any_letter(realistic: LoadedRouting) -> None:
    assert "сustomer.card.changeCategory" in realistic.config.sources["loymax"].event.rename
    assert not [warning for warning in check_rules(realistic).warnings if "looks like" in warning.message]


def test_the_graph_shows_the_way_from_source_to_destination(realistic: LoadedRouting) -> None:
    lines = mermaid(realistic.config).splitlines()

    assert lines[0] == "flowchart LR"
    assert '  s0(["sepay"])' in lines
    assert '  r0["settle-bank-transfer<br/>sepay.transaction.received"]' in lines
    assert {"  s0 --> r0", "  r0 --> h3", "  h3 --> d2", '  h3[["sepay.settle_transfer"]]'} <= set(lines)
    assert "  s2 -.-> r5" in lines
    assert "  s0 --> r1" not in lines


def test_the_graph_escapes_what_mermaid_would_read_as_markup() -> None:
    text = mermaid(rules("""name: a, match: 'x.#', when: 'data.a == "<b>" && data.c > 1', publish: out""").config)

    assert "#quot;#lt;b#gt;#quot; #amp;#amp; data.c #gt; 1" in text
    assert "x.#35;" in text


def test_the_schema_file_is_the_one_that_the_models_give() -> None:
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text(), "run: python -m hub.routing.schema"


def test_an_editor_accepts_the_realistic_file_and_refuses_a_wrong_field() -> None:
    jsonschema.Draft202012Validator.check_schema(routing_schema())
    validator = jsonschema.Draft202012Validator(routing_schema())
    content = json.loads(json.dumps(YAML(typ="safe", pure=True).load(DATA / "routing.yaml")))

    assert list(validator.iter_errors(content)) == []
    content["routes"][0]["mtch"] = "x"
    assert [error.json_path for error in validator.iter_errors(content)] == ["$.routes[0]"]


def test_every_field_is_described_for_the_editor() -> None:
    schema = routing_schema()
    models = [*schema["$defs"].values(), schema]

    missing = [
        (model.get("title"), name)
        for model in models
        for name, field in model.get("properties", {}).items()
        if "description" not in field
    ]

    assert missing == []
