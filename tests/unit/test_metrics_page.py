"""docs/metrics.md is what the code tells Prometheus, and the alert rules speak of nothing else."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, CollectorRegistry
from ruamel.yaml import YAML

from hub.ingress.bodies import Room
from hub.ingress.metrics import IngressMetrics

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy/prometheus"
OF_THE_PROCESS = ("process_", "python_")
OF_FASTSTREAM = {"app_name", "broker"}
"""Labels that all of FastStream's have; the page says so once."""
PROMTOOL_S_MAX = 30

Described = dict[str, tuple[str, frozenset[str]]]

_ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| (.*?) \|", re.MULTILINE)
_FAMILY = re.compile(r'(Gauge|Counter)MetricFamily\(\s*"(\w+)"(?:[^()]*?labels=\(([^)]*)\))?', re.DOTALL)
_NAME = re.compile(r"\b(?:hub|sepay|paypay|paypal|faststream)_[a-z_]+")


def on_the_page() -> Described:
    text = (ROOT / "docs/metrics.md").read_text()
    return {name: (kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in _ROW.findall(text)}


def in_the_code() -> Described:
    for file in (*(ROOT / "hub").rglob("*.py"), *(ROOT / "handlers").rglob("*.py")):
        if "from prometheus_client import" in file.read_text():
            importlib.import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))
    registry = CollectorRegistry()
    IngressMetrics(registry, Room(requests_max=1, bytes_max=1), lambda: 0)
    found: Described = {}
    for collector in (*REGISTRY._collector_to_names, *registry._collector_to_names):
        labels = frozenset(getattr(collector, "_labelnames", ())) - OF_FASTSTREAM
        for family in collector.describe() if hasattr(collector, "describe") else ():
            name = f"{family.name}_total" if family.type == "counter" else family.name
            if not name.startswith(OF_THE_PROCESS):
                found[name] = (family.type, labels)
    for file in (ROOT / "handlers").glob("*/measures.py"):
        for kind, name, labels in _FAMILY.findall(file.read_text()):
            full = f"{name}_total" if kind == "Counter" else name
            found[full] = (kind.lower(), frozenset(re.findall(r'"(\w+)"', labels)))
    return found


def test_the_page_names_every_metric_with_its_type_and_labels() -> None:
    page, code = on_the_page(), in_the_code()

    assert {name: page.get(name) for name in code} == code
    assert set(page) == set(code)


def test_alert_rules_and_their_tests_speak_of_metrics_that_exist() -> None:
    known = {name.removesuffix("_bucket") for name in on_the_page()}
    rules = YAML(typ="safe").load((RULES / "hub.rules.yml").read_text())
    expressions = " ".join(rule["expr"] for group in rules["groups"] for rule in group["rules"])
    tried = YAML(typ="safe").load((RULES / "hub.test.yml").read_text())
    series = " ".join(one["series"] for test in tried["tests"] for one in test["input_series"])

    assert set(_NAME.findall(expressions)) - known == set()
    assert set(_NAME.findall(series)) - known == set()


def test_every_alert_is_tried_speaking_and_silent() -> None:
    rules = YAML(typ="safe").load((RULES / "hub.rules.yml").read_text())
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    tries = [
        (one["alertname"], bool(one["exp_alerts"]))
        for test in YAML(typ="safe").load((RULES / "hub.test.yml").read_text())["tests"]
        for one in test["alert_rule_test"]
    ]

    assert {name for name, speaks in tries if speaks} == {name for name, speaks in tries if not speaks} == alerts


@pytest.mark.parametrize(
    "arguments", [("check", "config", "prometheus.yml"), ("test", "rules", "hub.test.yml")], ids=" ".join
)
def test_prometheus_takes_the_rules_and_they_speak_when_they_must(arguments: tuple[str, ...]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt-get install --no-install-recommends prometheus)")

    done = subprocess.run(
        [promtool, *arguments], cwd=RULES, capture_output=True, text=True, timeout=PROMTOOL_S_MAX, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
