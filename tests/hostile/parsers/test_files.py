"""What operators and their machines write: routing.yaml, the environment, durations, conditions of rules."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.paypal.fees import fixed_fees
from handlers.paypal.settings import PaypalSettings
from handlers.paypay.settings import PayPaySettings
from handlers.sepay.settings import SepaySettings
from hub.console.people import read_users
from hub.environment import Environment
from hub.errors import ConfigError
from hub.money import MONEY_MINOR_MAX, Money, MoneyError
from hub.retention.settings import RetentionSettings
from hub.routing import Condition, ConditionError, Facts, load_text
from hub.routing.extract import CompiledPath, Message, parse_time, scalar_text
from hub.routing.fields import parse_duration, parse_moment, path_problem
from hub.routing.load import PROBLEMS_MAX
from hub.routing.patterns import PatternIndex, pattern_problem
from hub.routing.yamltext import DEPTH_MAX, read_yaml
from hub.settings import EnvironmentSettings, Settings, read_settings
from hub.storage import StoragePlace
from tests.hostile.parsers.inputs import expect, fuzz, header_texts, is_storable, mutated_json, mutated_text, odd_texts
from tests.unit.routing.build import DATA, event

TOKYO = ZoneInfo("Asia/Tokyo")
SECRET = "hush-hush-0815"
WHOLE = (DATA / "routing.yaml").read_text()
PIECES = [
    "version: 1\nsources:\n  a: { queue: { name: q }, event: { type: routing_key, key: data.k } }\n",
    "version: 1\nschedules:\n  p: { cron: '*/5 * * * *', emit: a.b, zone: Asia/Tokyo }\n  q: { every: 5m, emit: a }\n",
    "version: 1\ndestinations:\n  d: { queue: q }\nroutes:\n  - { name: r,match: 'a.#',when: data.n > 1.5,publish: d }",
    "a: &x [1, 2]\nb: *x\nc: |\n  text\n   more\nd: >\n  folded\n  ${NAME:-x}\ne: 0x1F\nf: 1e3\n? g\n: !!str 7\n",
]


@fuzz(60)
@given(mutated_text([*PIECES, WHOLE[:400]]))
def test_a_file_is_read_or_every_mistake_has_its_place(text: str) -> None:
    read = read_yaml(text, file="routing.yaml", environ={"NAME": SECRET})

    assert read.value is None or all(len(loc) <= DEPTH_MAX + 1 for loc in read.places)
    for problem in read.problems:
        assert problem.file == "routing.yaml"
        assert (problem.line is None) == (problem.column is None)
        assert problem.line is None or 1 <= problem.line <= text.count("\n") + text.count("\r") + 2


@fuzz(40)
@given(mutated_text(PIECES))
def test_a_file_is_loaded_or_refused_as_a_whole_without_what_the_environment_says(text: str) -> None:
    try:
        load_text(text, environ={"NAME": SECRET, "HOME": SECRET, "X": SECRET})
    except ConfigError as error:
        expect(0 < len(error.problems) <= PROBLEMS_MAX + 1)
        expect(SECRET not in str(error))


@pytest.mark.parametrize(
    "number", ["9" * 5_000, "-" + "9" * 101, "0x" + "f" * 5_000, "1e" + "9" * 30, "1e999999999", "0." + "1" * 200]
)
def test_a_number_beyond_all_sense_is_a_mistake_with_a_place(number: str) -> None:
    with pytest.raises(ConfigError, match=r"routing.yaml:2:\d+: expected a number of at most"):
        load_text(f"version: 1\nroutes: [{{ name: {number} }}]\n", environ={})


@pytest.mark.parametrize("text", ["10E999999", "-1E999999", "1E-999999999", "sNaN", "Infinity"])
def test_a_number_at_the_end_of_all_exponents_is_no_time(text: str) -> None:
    assert parse_time(text, TOKYO) in (None, datetime(1970, 1, 1, tzinfo=UTC))


def test_an_anchor_that_is_given_again_counts_from_there_on() -> None:
    assert read_yaml("a: &x 1\nb: &x 2\nc: *x\n", file="f", environ={}).value == {"a": 1, "b": 2, "c": 2}


def test_spaces_in_the_directive_change_nothing() -> None:
    assert read_yaml("%YAML   1.2  \n---\na: 1\n", file="f", environ={}).problems == []
    assert read_yaml("%YAML 1.1\n---\na: 1\n", file="f", environ={}).problems != []


MODELS: tuple[type[EnvironmentSettings], ...] = (
    Settings,
    RetentionSettings,
    SepaySettings,
    PaypalSettings,
    PayPaySettings,
)
VARIABLES = sorted(
    {
        *("HUB_PORT", "HUB_DATABASE_URL", "HUB_BROKER_URL"),
        *("HUB_REFRESH", "HUB_REFRESH_ZONE", "HUB_SEAL", "HUB_LEASE_S"),
        *("HUB_TRUSTED_PROXIES", "HUB_HOME", "HUB_ROUTING"),
        *("HUB_ARCHIVE_STORE", "HUB_PRUNE_SCHEDULE", "HUB_RETENTION_DAYS"),
        *("SEPAY_ACCOUNTS", "SEPAY_API_BASE", "PAYPAL_BASE_URL"),
        *("PAYPAL_WEBHOOK_ID", "PAYPAY_FILE_HOSTS", "HUB_PAYPAL_FEE_FIXED"),
        *("PAYPAY_API_SECRET", "PAYPAL_CLIENT_SECRET"),
        *("HUB_CONSOLE_PASSWORD", "HUB_API_KEY_FILE", "HUB_PAYPAL_FEE_SHARE"),
    }
)  # fmt: skip
SECRETS = ("PAYPAY_API_SECRET", "PAYPAL_CLIENT_SECRET", "HUB_CONSOLE_PASSWORD", "HUB_DATABASE_URL", "HUB_BROKER_URL")
KNOWN = [
    *("8080", "postgresql://u:p@h/d?sslmode=require", "amqp://h"),
    *("0 0 * * *", "Asia/Tokyo", "1s", "10.0.0.0/8,::1", "s3://bucket/x"),
    *("USD=0.30,TWD=10", "https://api-m.paypal.com"),
    *('[{"bank_code": "VCB", "account_number": "0071000888888"}]', "files.example:8443"),
]  # fmt: skip


# No system hands a NUL over.
set_texts = (mutated_text(KNOWN) | header_texts).map(lambda text: text.replace("\x00", ""))


@fuzz(40)
@given(st.dictionaries(st.sampled_from(VARIABLES), set_texts, min_size=1, max_size=3))
def test_the_environment_is_read_or_each_wrong_variable_is_named(environ: dict[str, str]) -> None:
    for model in MODELS:
        try:
            read_settings(model, environ)
        except ConfigError as error:
            expect(error.problems)
            others = [text for name, text in environ.items() if name not in SECRETS]
            hidden = [text for name, text in environ.items() if name in SECRETS and len(text) > 8]
            # Where another variable says the same, that is not known to be a secret.
            expect(not any(text in str(error) for text in hidden if not any(text in other for other in others)))


@fuzz(20)
@given(mutated_text(["ann:viewer:$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$aGFzaGhhc2g", "bob:admin:x"]))
def test_users_of_the_environment_are_read_or_refused(text: str) -> None:
    try:
        read_users(text)
    except ConfigError as error:
        expect(error.problems)


@fuzz(20)
@given(mutated_text(["USD=0.30,TWD=10"]) | odd_texts)
def test_fees_are_amounts_or_refused(text: str) -> None:
    try:
        fees = fixed_fees(text)
    except ValueError as error:
        expect("HUB_PAYPAL_FEE_FIXED" in str(error))
        return

    assert all(0 <= fee.amount_minor <= MONEY_MINOR_MAX for fee in fees.values())


@fuzz(30)
@given(
    odd_texts | mutated_text(["12.50", "-0.10", "500000.00"]),
    st.sampled_from(("USD", "VND", "BONUS", "", "usd", "\x00")),
)
def test_an_amount_is_exact_and_in_bounds_or_refused(text: str, currency: str) -> None:
    try:
        money = Money.parse(text, currency)
    except MoneyError as error:
        expect(len(str(error)) < 200)
        return

    assert abs(money.amount_minor) <= MONEY_MINOR_MAX
    assert Money.parse(str(money.decimal), currency) == money


@fuzz(40)
@given(odd_texts | mutated_text(["2d", "500ms", "2026-01-31T12:00+09:00", "20260131", "1706693400000"]))
def test_a_time_or_duration_is_read_or_refused(text: str) -> None:
    now = datetime(2026, 1, 31, tzinfo=UTC)
    try:
        assert 0 < parse_duration(text) <= 366 * 86_400
        assert text.isascii()
    except ValueError as error:
        expect(len(str(error)) < 200)
    try:
        assert parse_moment(text, now).utcoffset() == timedelta(0)
    except ValueError as error:
        expect(len(str(error)) < 200)
    found = parse_time(text, TOKYO)
    assert found is None or found.utcoffset() == timedelta(0)


@fuzz(40)
@given(
    mutated_text(
        [
            "data.a.b == 1 && headers['x'] != ''",
            "data.t.matches('^(a+)+$')",
            "data.l.exists(x, x > 1)",
            "size(data) > 1",
        ]
    )
)
def test_a_condition_is_compiled_or_refused_and_says_true_false_or_why_not(text: str) -> None:
    try:
        condition = Condition.compile(text)
    except ConditionError as error:
        expect(str(error))
        return
    for body in (b"{}", b'{"a": {"b": 1}, "t": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!", "l": [1, 2]}', b"\xff"):
        try:
            assert condition.holds(Facts(event(body=body))) in (True, False)
        except ConditionError as error:
            expect(len(str(error)) < 2_000 + len(text))


@fuzz(30)
@given(
    mutated_json([{"a": {"b": [1, "x", {"c": 1.5}]}, "t": "aaaa"}]),
    st.sampled_from(("data.a", "data.a.b.2.c", "data.t", "headers.x", "message.message_id")),
    odd_texts,
)
def test_what_a_path_leads_to_is_a_text_that_can_be_stored(body: bytes, path: str, carried: str) -> None:
    try:
        data = event(body=body).data
    except Exception as error:
        expect(type(error).__name__ == "UnreadableError")
        return
    stored = carried if is_storable(carried.replace("\x00", "")) else ""
    text = CompiledPath(path).text_of(Message(data, {"x": stored}, {"message_id": stored}))

    assert text is None or (is_storable(text) and 0 < len(text) <= 400)
    assert scalar_text(data) is None or isinstance(scalar_text(data), str)


@fuzz(30)
@given(odd_texts | mutated_text(["a.*.#", "#.#.#.#.#.#"]), odd_texts)
def test_a_pattern_is_refused_or_matches_in_steps_that_are_bounded(pattern: str, type_: str) -> None:
    path_problem(pattern)
    if pattern_problem(pattern) is None:
        assert PatternIndex([[pattern]]).match(type_) in ((), (0,))


@fuzz(20)
@given(odd_texts | mutated_text(["s3://bucket/prefix", "/var/archive"]))
def test_where_the_archive_is_cannot_be_misread(text: str) -> None:
    try:
        settings = read_settings(RetentionSettings, {"HUB_ARCHIVE_STORE": text})
    except ConfigError as error:
        expect("HUB_ARCHIVE_STORE" in str(error))
        return

    place = settings.archive
    assert isinstance(place, StoragePlace)
    assert place.is_folder == (not place.place.startswith("s3://"))


@fuzz(20)
@given(
    st.dictionaries(
        st.sampled_from(("HUB_HOME", "HUB_SANDBOX", "HUB_API_KEY", "HUB_API_KEY_FILE", "X")), set_texts, max_size=3
    )
)
def test_any_environment_can_be_asked(environ: dict[str, Any]) -> None:
    environment = Environment({**environ, "HUB_SANDBOX": "0"})
    for name in ("HUB_API_KEY", "X", "HUB_NONE"):
        try:
            assert environment.given(name) is None or isinstance(environment.given(name), str)
        except ConfigError as error:
            expect(error.problems)
    assert os.fspath(environment.home)
