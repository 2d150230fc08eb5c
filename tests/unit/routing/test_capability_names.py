"""A capability's variable may stand in routing.yaml under each name that its settings know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hub.clock import SystemClock
from hub.environment import Environment
from hub.errors import ConfigError
from hub.routing.load import capability_names
from hub.routing.yamltext import YamlText, read_yaml
from hub.wiring import load_wiring

ROUTING = """
version: 1
capabilities: [handlers.sepay]
sources:
  bank:
    webhook: { path: /webhooks/bank, auth: { scheme: api_key, secret: "${SEPAY_WEBHOOK_API_KEY}" } }
    event: { type: bank.paid, id: data.id }
routes: []
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "routing.yaml"
    file.write_text(ROUTING)
    return file


def test_the_file_finds_a_variable_by_its_other_name(path: Path) -> None:
    wiring = load_wiring(path, Environment({"SEPAY_API_KEY": "the-key-of-the-bank"}), SystemClock())

    webhook = wiring.config.sources["bank"].webhook
    assert webhook is not None
    assert webhook.auth.model_dump()["secret"].get_secret_value() == "the-key-of-the-bank"


def test_a_variable_that_has_no_value_under_any_name_is_missing(path: Path) -> None:
    with pytest.raises(ConfigError, match="the environment variable SEPAY_WEBHOOK_API_KEY is not set"):
        load_wiring(path, Environment({}), SystemClock())


def test_a_start_reads_and_checks_the_values_of_the_file_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def noted(text: str, **given: Any) -> YamlText:
        read.append(text)
        return read_yaml(text, **given)

    monkeypatch.setattr("hub.routing.load.read_yaml", noted)

    load_wiring(path, Environment({"SEPAY_API_KEY": "the-key-of-the-bank"}), SystemClock())

    assert read == [ROUTING]


@pytest.mark.parametrize(
    "text", ["capabilities: handlers.sepay", "capabilities: [1, '', '.x', 'a b']", "- a", "", "a: [", "routes: []"]
)
def test_names_that_cannot_be_read_are_left_to_the_loading_in_earnest(path: Path, text: str) -> None:
    path.write_text(text)

    assert capability_names(path) == []
