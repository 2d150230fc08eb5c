"""Values of the environment: filled in where the file asks, never shown."""

from __future__ import annotations

import pytest

from hub.errors import ConfigError
from hub.routing import load_routing
from tests.unit.routing.build import DATA, SECRET, load, problems

FILE = """version: 1
sources:
  shop:
    webhook: {{ path: /hook, auth: {{ scheme: hmac, secrets: [{0}] }} }}
    event: {{ type: a.b }}
"""


def params(written: str, environ: dict[str, str]) -> object:
    webhook = load(FILE.format(written), environ=environ).config.sources["shop"].webhook
    assert webhook is not None
    return webhook.auth.revealed()["secrets"]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ('"${KEY}"', "v1"),
        ("'${KEY}'", "v1"),
        ('"a${KEY}b${OTHER}c"', "av1bv2c"),
        ('"${NONE:-spare}"', "spare"),
        ('"${NONE:-}"', ""),
        ('"${EMPTY:-spare}"', "spare"),
        ('"${EMPTY}"', ""),
        ('"$${KEY}"', "${KEY}"),
        ('"$KEY"', "$KEY"),
        ('"${NUMBER}"', "0123"),
    ],
)
def test_a_name_is_replaced_by_its_value(written: str, expected: str) -> None:
    environ = {"KEY": "v1", "OTHER": "v2", "EMPTY": "", "NUMBER": "0123"}

    assert params(written, environ) == [expected]


def test_a_value_is_not_searched_for_names_again() -> None:
    assert params('"${A}"', {"A": "${B}", "B": "x"}) == ["${B}"]


def test_every_missing_name_is_reported_with_its_place() -> None:
    text = FILE.format('"${KEYY}", "${KEY}", "${ZZZ}"')

    assert problems(text, environ={"KEY": "v"}) == [
        "4:61: the environment variable KEYY is not set; did you mean 'KEY'?",
        "4:82: the environment variable ZZZ is not set",
    ]


@pytest.mark.parametrize("written", ['"${}"', '"${a b}"', '"${KEY"', '"${KEY:+x}"'])
def test_a_broken_name_is_reported(written: str) -> None:
    found = problems(FILE.format(written), environ={"KEY": "v"})

    assert found == ["4:61: expected ${NAME} or ${NAME:-default}; write $${ for the letters ${"]


def test_no_text_of_an_auth_shows_in_a_repr() -> None:
    loaded = load_routing(DATA / "routing.yaml", environ={"SEPAY_WEBHOOK_API_KEY": SECRET})

    webhook = loaded.config.sources["sepay"].webhook
    assert webhook is not None
    assert webhook.auth.revealed() == {"prefix": "Apikey", "secret": SECRET}
    for shown in (repr(loaded), str(loaded.config), repr(webhook.auth.params), loaded.config.model_dump_json()):
        assert SECRET not in shown


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("secret: ", "scheme: "),
        ("unreadable: [400", 'unreadable: ["${SEPAY_WEBHOOK_API_KEY}"'),
        ("first: 1s", 'first: "${SEPAY_WEBHOOK_API_KEY}"'),
        ("was: [big-purchases]", 'was: ["a ${SEPAY_WEBHOOK_API_KEY}"]'),
        ("publish: fraud-desk", 'publish: "${SEPAY_WEBHOOK_API_KEY}"'),
        ("handle: loyalty.give_bonus", 'handle: "${SEPAY_WEBHOOK_API_KEY}"'),
        ("match: purchases.#", 'match: "${SEPAY_WEBHOOK_API_KEY}*"'),
        ("occurred: data.transactionDate", 'occurred: "${SEPAY_WEBHOOK_API_KEY}"'),
        ('cron: "*/5 * * * *"', 'cron: "${SEPAY_WEBHOOK_API_KEY}"'),
        ("when: |", 'when: "${SEPAY_WEBHOOK_API_KEY} ==="\n    options:\n     x: |'),
    ],
)
@pytest.mark.parametrize("secret", [SECRET, "Ab1"])
def test_no_value_of_the_environment_shows_in_an_error(old: str, new: str, secret: str) -> None:
    text = (DATA / "routing.yaml").read_text()
    assert old in text

    with pytest.raises(ConfigError) as caught:
        load(text.replace(old, new), environ={"SEPAY_WEBHOOK_API_KEY": secret})

    assert secret not in str(caught.value)
    assert secret not in repr(caught.value.__cause__)
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_a_secret_that_is_written_out_is_a_warning() -> None:
    loaded = load(FILE.format('written-out, "${KEY}"'), environ={"KEY": "v"})

    assert [str(warning) for warning in loaded.warnings] == [
        "routing.yaml:4:61: secrets is written out in the file: name an environment variable instead, as ${NAME}"
    ]
