# ruff: noqa: E501  a case is one line: what stands there, what is put in its place, what is said about it
"""routing.yaml: what it may say, and the line and column of every mistake."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from hub.errors import ConfigError
from hub.routing import Known, RetryConfig, load_routing
from hub.routing.fields import parse_duration, parse_moment
from hub.routing.load import FILE_BYTES_MAX
from tests.unit.routing.build import DATA, ENVIRON, load, problems

BASE = """version: 1
capabilities: [handlers.shop]
sources:
  shop:
    webhook: { path: /webhooks/shop, auth: { scheme: api_key, secret: "${SHOP_KEY}" } }
    event: { type: order.paid, id: data.id, key: data.customer }
  stock:
    queue: { exchange: stock.events, name: hub.stock }
    event: { type: routing_key }
destinations:
  ledger-feed: { queue: ledger.feed }
  topics: { exchange: topics, routing_key: "{event.type}" }
routes:
  - name: book-order
    match: order.paid
    when: data.amount > 1.0
    handle: shop.book_order
    publish: ledger-feed
    retry: { attempts: 3, first: 1s, longest: 1m }
  - name: copy-stock
    match: [stock.*, order.#]
    publish: topics
schedules:
  nightly: { cron: "0 3 * * *", emit: night.came }
"""
SHOP_KEY = {"SHOP_KEY": "s3cr3t-value"}


def mistakes(old: str, new: str, known: Known | None = None) -> list[str]:
    """What is said about BASE with one text put in place of another."""
    assert old in BASE
    return problems(BASE.replace(old, new, 1), environ=SHOP_KEY, known=known)


def test_the_realistic_file_says_what_it_says() -> None:
    loaded = load_routing(DATA / "routing.yaml", environ=ENVIRON)

    config = loaded.config
    sepay, loymax = config.sources["sepay"], config.sources["loymax"]
    assert sepay.webhook is not None
    assert sepay.webhook.aliases == ("/api/seapay/webhook/",)
    assert (sepay.reply.ok.status, sepay.reply.ok.body) == (200, {"success": True})
    assert sepay.event.fixed_type == "sepay.transaction.received"
    assert loymax.event.id[1] == ("type", "data.externalId")
    assert loymax.event.same is not None
    assert "data.tryCount" in loymax.event.same.excluding
    assert config.sources["orders"].queue is not None
    assert config.sources["orders"].queue.partition_path == "headers.X-Customer"
    assert config.destinations["fraud-desk"].exchange_name == "hub.fraud.purchases"
    assert config.destinations["fraud-desk"].bindings == {"fraud.purchases": ("#",)}
    assert config.routes[0].retry == RetryConfig(attempts=12, first="1s", longest="10m")
    assert config.routes[0].retry.longest_s == 600
    assert config.schedules["daily-report"].every_s == 86_400
    assert loaded.warnings == ()


def test_yes_no_dates_and_times_stay_text_as_yaml_1_2_says() -> None:
    text = BASE.replace("attempts: 3,", "attempts: 3,").replace(
        "publish: topics", "publish: topics\n    options: { a: no, b: 12:30:00, c: 2026-01-01, d: 0o17, e: 1.10, f: ~ }"
    )

    options = load(text, environ=SHOP_KEY).config.routes[1].options

    assert {name: str(value) for name, value in options.items()} == {
        "a": "no",
        "b": "12:30:00",
        "c": "2026-01-01",
        "d": "15",
        "e": "1.10",
        "f": "None",
    }


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("version: 1", "version: 2", "1:10: expected 1, found 2"),
        ("version: 1\n", "", "1:1: expected the field 'version'"),
        ("path: /webhooks/shop", "path: webhooks/shop", "5:22: expected a URL path such as /webhooks/orders"),
        ("scheme: api_key, ", "", "5:44: expected the field 'scheme'"),
        ("auth: {", "body_bytes_max: 0, auth: {", "5:54: expected a number of at least 1, found 0"),
        ("auth: {", "body_bytes_max: many, auth: {", "5:54: expected a whole number, found 'many'"),
        ("type: order.paid", "type: order..paid", "6:20: expected words divided by single dots, found 'order..paid'"),
        ("id: data.id", "id: dat.id", "6:36: expected body_hash or a path that begins with data., headers. or message."),
        ("id: data.id", "id: [[type, data.id], [type]]", "6:36: 'type' cannot stand here"),
        ("id: data.id", "id: [[type, data.id?]]", "6:36: expected at least one path that must be present"),
        ("id: data.id", "id: [[data.id, body_hash?]]", "6:36: 'body_hash?' cannot stand here"),
        ("key: data.customer", "key: message.mesage_id", "6:50: unknown field 'mesage_id' of message; did you mean 'message_id'?"),
        ("key: data.customer", "key: [data.a, data..b]", "6:59: expected names divided by single dots"),
        ("key: data.customer", "occurred_zone: Asia/Saigonn", "6:60: unknown time zone 'Asia/Saigonn'; did you mean 'Asia/Saigon'?"),
        ("key: data.customer", "same: []", "6:51: expected a list of paths to compare"),
        ("key: data.customer", "same: headers.x", "6:51: expected a path that begins with data. (the body is compared)"),
        ("key: data.customer", "without_identity: data.id == nul", "6:74: unknown name 'nul'"),
        ("key: data.customer", "kye: data.customer", "6:45: unknown field 'kye'; did you mean 'key'?"),
        ("key: data.customer }", "key: data.customer }\n    reply: { ok: 404 }", "7:18: expected a status from 200 to 299, found 404"),
        ("key: data.customer }", "key: data.customer }\n    reply: { unauthorized: 200 }", "7:28: expected a status from 400 to 599"),
        ("key: data.customer }", "key: data.customer }\n    reply: { ok: [200, { v: \"\\uD800\" }] }", "7:18: expected a text, or what can be sent as JSON"),
        ("key: data.customer }", "key: data.customer }\n    reply: { ok: [200, a, b] }", "7:18: expected a status such as 200"),
        ("key: data.customer }", "key: data.customer }\n    mask: card", "7:11: expected a path that begins with"),
        ("key: data.customer }", "key: data.customer }\n    verify: later", "7:13: expected 'now' or 'deferred', found 'later'"),
        ("key: data.customer }", "key: data.customer }\n    verify: deferred", "5:5: verify: deferred needs a fixed type and no key"),
        ("key: data.customer }", "}\n    verify: deferred", "5:5: verify: deferred needs body_hash in each alternative"),
        ("name: hub.stock", "name: hub.stock, partitions: 4", "8:12: expected partitions and by together"),
        ("name: hub.stock", "name: hub.stock, partitions: 4, by: key", "8:74: expected 'header NAME' or 'message_id', found 'key'"),
        ("name: hub.stock", "name: hub.stock, partitions: 4, by: message_id", "8:5: partitions by message.message_id need the event's key"),
        ("exchange: stock.events, ", "bind: [stock.#], ", "8:12: bind needs an exchange"),
        ("name: hub.stock", "name: hub.stock, bind: [a*]", "8:62: expected * and # as whole words, found 'a*' in 'a*'"),
        ("{ queue: ledger.feed }", "{ }", "11:16: expected either queue or exchange"),
        ("{ queue: ledger.feed }", "{ queue: a, routing_key: b }", "11:16: routing_key and bind belong to an exchange"),
        ("{event.type}", "{event.typ}", "12:44: unknown field 'event.typ' in {}; did you mean 'event.type'?"),
        ("{event.type}", "{event.type", "12:44: expected a name between { and }"),
        ("name: book-order", "name: Book order", "14:11: expected a name of at most 80 small letters, digits and dashes, found 'Book order'"),
        ("match: order.paid", "match: []", "15:12: expected 1 to 1000 patterns, found 0"),
        ("match: order.paid", "match: 5", "15:12: expected text, found 5"),
        ("data.amount > 1.0", "data.amount >", "16:24: expected a condition in CEL"),
        ("data.amount > 1.0", "'data.amnt > 1.0 && dta.x'", "16:31: unknown name 'dta'; did you mean 'data'?"),
        ("data.amount > 1.0", "event.typ == 'x'", "16:11: unknown field 'typ' of event; did you mean 'type'?"),
        ("data.amount > 1.0", "size(data.items)", "16:11: expected a condition that is true or false, found one of type int"),
        ("data.amount > 1.0", "|\n      data.amount > 1.0 &&\n      dta.x", "18:7: unknown name 'dta'"),
        ("handle: shop.book_order", "handle: book_order", "17:13: expected a handler written capability.handler"),
        ("publish: ledger-feed", "publish: ledger-fed", "18:14: unknown destination 'ledger-fed'; did you mean 'ledger-feed'?"),
        ("publish: topics", "publish: [topics, ledger]", "22:23: unknown destination 'ledger'; "),
        ("publish: topics", "on_park: go", "22:14: expected 'wait' or 'continue', found 'go'"),
        ("    publish: topics\n", "", "20:5: expected handle, publish or both"),
        ("publish: topics", "publish: topics\n    source: shopp", "23:13: unknown source 'shopp'; did you mean 'shop'?"),
        ("publish: topics", "publish: topics\n    source: schedule.nightl", "23:13: unknown source 'schedule.nightl'; did you mean 'schedule.nightly'?"),
        ("publish: topics", "publish: topics\n    disabled: perhaps", "23:15: expected true or false, found 'perhaps'"),
        ("publish: topics", "publish: topics\n    examples: [{ matches: true }]", "23:16: expected the field 'file'"),
        ("publish: topics", "publish: topics\n    examples: [{ file: a, source: stok }]", "23:35: unknown source 'stok'; did you mean 'stock'?"),
        ("attempts: 3", "attempts: 0", "19:24: expected a number of at least 1, found 0"),
        ("first: 1s", "first: 1", "19:34: expected a duration such as 500ms, 2s, 10m, 1h or 3d, found 1"),
        ("first: 1s", "first: 2m", "19:12: expected first to be at most longest, found 120 s and 60 s"),
        ("retry:", "retyr:", "19:5: unknown field 'retyr'; did you mean 'retry'?"),
        ("name: copy-stock", "name: book-order", "20:11: the route name 'book-order' stands twice"),
        ("name: copy-stock", "name: copy-stock\n    was: [book-order]", "21:11: the former name 'book-order' is the name of a route today"),
        ('"0 3 * * *"', '"0 3 * *"', "24:20: expected five fields"),
        ('"0 3 * * *"', '"0 99 * * *"', "24:20: expected a cron expression, found '0 99 * * *'"),
        ('cron: "0 3 * * *"', 'cron: "0 3 * * *", every: 1h', "24:12: expected either cron or every"),
        ('cron: "0 3 * * *"', "every: 10ms", "24:12: expected a period of at least 1s"),
        ("emit: night.came", "emit: night.*", "24:39: expected one event type, found the pattern 'night.*'"),
        ("emit: night.came", "emit: night.came, catch_up: some", "24:61: expected 'last', 'all' or 'none', found 'some'"),
        ("capabilities: [handlers.shop]", "capabilities: handlers.shop", "2:15: expected a list, found 'handlers.shop'"),
        ("capabilities: [handlers.shop]", "capabilities: [handlers/shop]", "2:16: expected a Python package such as"),
        ("capabilities: [handlers.shop]", "capabilities: [a, a]", "2:19: the capability 'a' stands twice"),
        ("  shop:\n", "  internal:\n", "4:3: the source name 'internal' is the hub's own"),
        ("  shop:\n", "  schedule.x:\n", "4:3: expected a name of at most 80 small letters, digits, dashes and underscores"),
        ("  stock:\n", "  stock:\n    webhook: { path: /a, aliases: [/webhooks/shop/], auth: { scheme: none } }\n", "8:36: the path /webhooks/shop/ is taken by the source 'shop'"),
        ("/webhooks/shop", "/console/x", "5:22: the path /console/x is the hub's own"),
        ("  stock:\n", "  again:\n    queue: { name: hub.stock }\n    event: { type: a.b }\n  stock:\n", "11:44: the queue 'hub.stock' is read by the source 'again' already"),
    ],
)  # fmt: skip
def test_a_mistake_is_reported_with_its_place_and_what_was_expected(old: str, new: str, expected: str) -> None:
    found = mistakes(old, new)

    assert len(found) == 1, found
    assert found[0].startswith(expected)


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (Known(handlers={"shop.book_orders"}), "17:13: unknown handler 'shop.book_order'; did you mean 'shop.book_orders'?"),
        (Known(schemes={"api_keys", "none"}), "5:54: unknown scheme 'api_key'; did you mean 'api_keys'?"),
        (Known(capabilities={"handlers.shops"}), "2:16: unknown capability 'handlers.shop'; did you mean 'handlers.shops'?"),
    ],
)  # fmt: skip
def test_names_of_capabilities_are_checked_once_they_are_known(known: Known, expected: str) -> None:
    assert problems(BASE, environ=SHOP_KEY, known=known) == [expected]


def test_an_unknown_schema_is_reported() -> None:
    found = mistakes("id: data.id", "schema: shop.Ordr", Known(schemas={"shop.Order"}))

    assert found == ["6:40: unknown schema 'shop.Ordr'; did you mean 'shop.Order'?"]


def test_every_mistake_is_reported_at_once_in_the_order_of_the_file() -> None:
    text = BASE.replace("attempts: 3", "attempts: 0").replace("1s", "1x").replace("match: [", "mtch: [")

    found = problems(text, environ=SHOP_KEY)

    assert [line.split(": ")[0] for line in found] == ["19:24", "19:34", "20:5", "21:5"]


def test_mistakes_across_the_file_are_reported_together() -> None:
    text = BASE.replace("publish: topics", "publish: topcs").replace("data.amount >", "dta.amount >")

    assert [line.split(": ")[0] for line in problems(text, environ=SHOP_KEY)] == ["16:11", "22:14"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("version: 1\nversion: 1\n", "2:1: the name 'version' stands twice, first in line 1"),
        ("version: 1\nroutes:\n  - { name: a, name: b }\n", "3:16: the name 'name' stands twice, first in line 3"),
        ("version: [1\n", "2:1: expected YAML, expected ',' or ']'"),
        ("version: 1\n\tx: 1\n", "2:1: expected YAML, found character '\\t'"),
        ("version: *v\n", "1:10: expected YAML, found undefined alias"),
        ("a: 1\n---\nb: 1\n", "2:1: expected YAML, but found another document"),
        ("%YAML 1.1\n---\nversion: 1\n", "1:1: expected YAML 1.2"),
        ("version: !!python/object:os.system 1\n", "1:10: expected a plain value, found the tag"),
        ("version: !secret x\n", "1:10: expected a plain value, found the tag !secret"),
        ("<<: { a: 1 }\nversion: 1\n", "1:1: expected a name, found <<: YAML 1.2 has no merging"),
        ("? [a, b]\n: 1\n", "1:3: expected a name before the colon"),
        ("", "1:1: expected a mapping with version: 1, found nothing"),
        ("[1, 2]", "1:1: expected a mapping with version: 1, found a list"),
        ("a: 1\nb: \x00", "2:4: expected YAML, found the character U+0000"),
    ],
)
def test_what_is_not_plain_yaml_1_2_is_refused_with_its_place(text: str, expected: str) -> None:
    found = problems(text)

    assert any(expected in line for line in found), found


def test_an_alias_may_be_used_but_not_to_blow_up_the_file() -> None:
    shared = BASE.replace("retry: {", "retry: &patient {").replace(
        "publish: topics", "publish: topics\n    retry: *patient"
    )
    assert load(shared, environ=SHOP_KEY).config.routes[1].retry.attempts == 3

    levels = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 20)}]\n" for n in range(1, 12))
    found = problems(f"version: 1\nl0: &l0 [x]\n{levels}")
    assert any("values" in line for line in found)

    assert any("levels" in line for line in problems("version: &v [*v]\n"))


def test_a_file_that_cannot_be_read_is_a_problem_and_not_a_traceback(tmp_path: Path) -> None:
    def refusal(path: Path) -> str:
        with pytest.raises(ConfigError) as caught:
            load_routing(path, environ={})
        return str(caught.value)

    large, binary = tmp_path / "large.yaml", tmp_path / "binary.yaml"
    large.write_bytes(b"#" * (FILE_BYTES_MAX + 1))
    binary.write_bytes(b"version: 1\nx: \xff\xfe\n")

    assert refusal(tmp_path / "none.yaml").endswith("none.yaml: cannot be read: No such file or directory")
    assert refusal(tmp_path).endswith("cannot be read: Is a directory")
    assert refusal(large).endswith(f"large.yaml: expected a file of at most {FILE_BYTES_MAX} bytes")
    assert refusal(binary).endswith("binary.yaml:2:4: expected UTF-8 text")


def test_what_is_never_used_is_a_warning_and_no_error() -> None:
    text = BASE.replace("publish: ledger-feed", "publish: topics").replace(
        "queue: { exchange: stock.events, name: hub.stock }", "post_events: false"
    )

    warnings = [str(warning) for warning in load(text, environ=SHOP_KEY).warnings]

    assert warnings == [
        "routing.yaml:7:3: only `hub publish` can feed the source 'stock': it has no webhook, queue or post_events",
        "routing.yaml:11:3: no route publishes to the destination 'ledger-feed'",
    ]


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("2s", 2), ("10m", 600), ("1h", 3_600), ("3d", 259_200), ("1.5s", 1.5)]
)
def test_a_duration_is_read_in_its_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "1", "s", "-1s", "1 s", "1S", "0s", "1w", "1e3s", "367d", 5, None, True, [], "1s2m"]
)
def test_anything_else_is_no_duration(text: object) -> None:
    with pytest.raises(PydanticCustomError, match="expected a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("90m", datetime(2026, 1, 31, 10, 30, tzinfo=UTC)),
        ("2026-01-30T12:00Z", datetime(2026, 1, 30, 12, tzinfo=UTC)),
        ("2026-01-30T12:00", datetime(2026, 1, 30, 12, tzinfo=UTC)),
        ("2026-01-30T12:00+09:00", datetime(2026, 1, 30, 3, tzinfo=UTC)),
        ("2026-01-30", datetime(2026, 1, 30, tzinfo=UTC)),
    ],
)
def test_a_moment_is_a_time_or_how_long_ago_and_always_utc(text: str, moment: datetime) -> None:
    found = parse_moment(text, datetime(2026, 1, 31, 12, tzinfo=UTC))

    assert (found, found.utcoffset()) == (moment, timedelta(0))


@pytest.mark.parametrize("text", ["", "yesterday", "999999999d", "0001-01-01T00:00+23:00", "9999-12-31T23:59-01:00"])
def test_anything_else_is_no_moment(text: str) -> None:
    with pytest.raises(PydanticCustomError, match="expected a time such as"):
        parse_moment(text, datetime(2026, 1, 31, 12, tzinfo=UTC))


@given(st.integers(1, 300), st.sampled_from(["ms", "s", "m", "h", "d"]))
def test_a_printed_duration_reads_back(number: int, unit: str) -> None:
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400}

    assert parse_duration(f"{number}{unit}") == number * units[unit]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    )
)
def test_no_content_of_a_section_makes_loading_raise_anything_else(value: Any) -> None:
    for section in ("sources", "destinations", "routes", "schedules", "capabilities"):
        text = json.dumps({"version": 1, section: value})
        with suppress(ConfigError):
            load(text)


@pytest.mark.parametrize("text", ["[" * 3_000, "{a: " * 3_000, "- " * 3_000])
def test_deep_nesting_is_a_problem_and_not_a_crash(text: str) -> None:
    assert problems(text)


def test_a_destination_fills_in_the_routing_key() -> None:
    destinations = load(
        "version: 1\ndestinations:\n"
        '  plain: { queue: q }\n  made: { exchange: e, routing_key: "v1.{event.source}.{event.type}.{event.key}" }\n'
    ).config.destinations

    assert destinations["plain"].routing_key_for(type_="a.b", key=None, source="shop") == "a.b"
    assert destinations["made"].routing_key_for(type_="a.b", key="7", source="shop") == "v1.shop.a.b.7"
    assert destinations["made"].routing_key_for(type_="a.b", key=None, source="shop") == "v1.shop.a.b."
    assert destinations["made"].bindings == {}
