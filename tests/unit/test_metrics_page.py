"""docs/metrics.md is what the code tells Prometheus, and the alert rules speak of nothing else."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY, CollectorRegistry
from ruamel.yaml import YAML

from hub.ingress.bodies import Room
from hub.ingress.metrics import IngressMetrics

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy/prometheus"
DASHBOARDS = sorted((ROOT / "deploy/grafana/dashboards").glob("*.json"))
OF_SCRAPES = {"instance", "job", "process", "le"}
"""Labels that Prometheus, ``--workers`` and histograms add."""
OF_THE_PROCESS = ("process_", "python_")
OF_FASTSTREAM = {"app_name", "broker"}
"""Labels that all of FastStream's have; the page says so once."""
PROMTOOL_S_MAX = 30

Described = dict[str, tuple[str, frozenset[str]]]

_ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| (.*?) \|", re.MULTILINE)
_FAMILY = re.compile(r'(Gauge|Counter)MetricFamily\(\s*"(\w+)"(?:[^()]*?labels=\(([^)]*)\))?', re.DOTALL)
_NAME = re.compile(r"\b(?:hub|sepay|paypay|paypal|faststream)_[a-z_]+")
_SELECTOR = re.compile(r"\b((?:hub|sepay|paypay|paypal|faststream)_[a-z_]+)(?:\{([^}]*)\})?")
_CHANGE = re.compile(r"\b(?:rate|increase)\((\w+)")
_BY = re.compile(r"\bby \(([^)]*)\)")


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


def trials_of_rules() -> list[dict[str, Any]]:
    files = sorted(RULES.glob("*.test.yml"))
    return [test for file in files for test in YAML(typ="safe").load(file.read_text())["tests"]]


def test_the_page_names_every_metric_with_its_type_and_labels() -> None:
    page, code = on_the_page(), in_the_code()

    assert {name: page.get(name) for name in code} == code
    assert set(page) == set(code)


def test_alert_rules_and_their_tests_speak_of_metrics_that_exist() -> None:
    known = {name.removesuffix("_bucket") for name in on_the_page()}
    rules = YAML(typ="safe").load((RULES / "hub.rules.yml").read_text())
    expressions = " ".join(rule["expr"] for group in rules["groups"] for rule in group["rules"])
    series = " ".join(one["series"] for test in trials_of_rules() for one in test["input_series"])

    assert set(_NAME.findall(expressions)) - known == set()
    assert set(_NAME.findall(series)) - known == set()


def test_every_alert_is_tried_speaking_and_silent() -> None:
    rules = YAML(typ="safe").load((RULES / "hub.rules.yml").read_text())
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    tries = [
        (one["alertname"], bool(one["exp_alerts"])) for test in trials_of_rules() for one in test["alert_rule_test"]
    ]

    assert {name for name, speaks in tries if speaks} == {name for name, speaks in tries if not speaks} == alerts


def test_every_alert_leads_to_its_page_which_says_what_to_do() -> None:
    rules = YAML(typ="safe").load((RULES / "hub.rules.yml").read_text())
    alerts = {rule["alert"]: rule for group in rules["groups"] for rule in group["rules"]}
    folder = ROOT / "docs/alerts"
    listed = re.findall(r"^\| \[(\w+)\]\((\w+)\.md\) \| (\w+) \|", (folder / "README.md").read_text(), re.MULTILINE)

    assert {file.stem for file in folder.glob("*.md")} - {"README"} == set(alerts)
    assert {name: severity for name, _, severity in listed} == {
        name: rule["labels"]["severity"] for name, rule in alerts.items()
    }
    for name, rule in alerts.items():
        page = (folder / f"{name}.md").read_text()
        assert rule["annotations"]["runbook_url"] == f"{{{{ $externalLabels.docs }}}}/alerts/{name}/"
        assert re.findall(r"^## (.+)$", page, re.MULTILINE) == ["Meaning", "Check", "Action"], name
        assert page.startswith(f"# {name}\n\n*{rule['labels']['severity']}* · ")


def queries(dashboard: Path) -> dict[str, str]:
    """Every query of a dashboard under the title of its panel."""
    panels = json.loads(dashboard.read_text())["panels"]
    return {f"{one['title']} {target['refId']}": target["expr"] for one in panels for target in one.get("targets", ())}


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda one: one.stem)
def test_every_query_of_a_dashboard_asks_for_figures_that_there_are(dashboard: Path) -> None:
    page = on_the_page()
    asked = queries(dashboard)

    for title, query in asked.items():
        labels = set(OF_SCRAPES)
        for name, selector in _SELECTOR.findall(query):
            plain = name.removesuffix("_bucket")
            assert plain in page, (title, name)
            assert (page[plain][0] == "histogram") == name.endswith("_bucket"), (title, name)
            assert set(re.findall(r"(\w+)(?:=|!)", selector)) <= page[plain][1] | OF_SCRAPES, (title, selector)
            labels |= page[plain][1]
        for name in _CHANGE.findall(query):
            plain = name.removesuffix("_bucket")
            assert plain not in page or page[plain][0] in ("counter", "histogram"), (title, name)
        for names in _BY.findall(query):
            assert {one.strip() for one in names.split(",")} <= labels, (title, names)
    assert len(asked) > 30


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda one: one.stem)
def test_the_panels_of_a_dashboard_stand_beside_each_other(dashboard: Path) -> None:
    document = json.loads(dashboard.read_text())
    taken: dict[tuple[int, int], str] = {}
    for panel in document["panels"]:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, (panel["title"], taken[x, y])
                assert x < 24
                taken[x, y] = panel["title"]

    assert len({panel["id"] for panel in document["panels"]}) == len(document["panels"])
    assert {panel["datasource"]["uid"] for panel in document["panels"] if panel["type"] != "row"} == {"${datasource}"}


def test_prometheus_can_read_every_query_of_the_dashboards(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt-get install --no-install-recommends prometheus)")
    asked = [query for dashboard in DASHBOARDS for query in queries(dashboard).values()]
    rules = [
        {"record": f"query:{number}", "expr": query.replace("$__rate_interval", "5m")}
        for number, query in enumerate(asked)
    ]
    file = tmp_path / "queries.rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))

    done = subprocess.run(
        [promtool, "check", "rules", file], capture_output=True, text=True, timeout=PROMTOOL_S_MAX, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules found" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [("check", "config", "prometheus.yml"), ("test", "rules", *sorted(file.name for file in RULES.glob("*.test.yml")))],
    ids=" ".join,
)
def test_prometheus_takes_the_rules_and_they_speak_when_they_must(arguments: tuple[str, ...]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt-get install --no-install-recommends prometheus)")

    done = subprocess.run(
        [promtool, *arguments], cwd=RULES, capture_output=True, text=True, timeout=PROMTOOL_S_MAX, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
