"""The files under deploy/: they can be read, agree with each other and with the hub, and hold no secret."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydantic_settings import BaseSettings
from ruamel.yaml import YAML

from hub.ingress.remote import client_address
from hub.settings import Settings, load_settings, variable_names
from hub.wiring import load_capabilities

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
TOOL_S_MAX = 60
PROBES = {"/healthz", "/readyz"}
INSIDE = {"/metrics", *PROBES}
OF_OTHERS = {"HUB_PUBLIC_NAME"}
"""Variables that the proxy reads."""


def documents(name: str) -> list[Any]:
    return list(YAML(typ="safe").load_all((DEPLOY / name).read_text()))


def of_kind(kind: str) -> dict[str, Any]:
    manifests = [one for file in (DEPLOY / "kubernetes").glob("*.yaml") for one in documents(f"kubernetes/{file.name}")]
    [found] = [one for one in manifests if one["kind"] == kind]
    return dict(found)


@pytest.fixture
def compose() -> dict[str, Any]:
    [found] = documents("compose.yaml")
    return dict(found)


@pytest.fixture
def pod() -> dict[str, Any]:
    return dict(of_kind("Deployment")["spec"]["template"]["spec"])


def test_every_variable_is_one_that_the_hub_reads() -> None:
    text = (ROOT / "routing.yaml").read_text()
    capabilities = load_capabilities(YAML(typ="safe").load(text)["capabilities"]).members
    models: list[type[BaseSettings]] = [Settings, *(one.settings for one in capabilities if one.settings is not None)]
    known = {name for model in models for field in model.model_fields for name in variable_names(model, field)}
    known |= {f"{name}_FILE" for name in known} | OF_OTHERS | set(re.findall(r"\$\{(\w+)", text))
    files = [
        DEPLOY / "compose.yaml",
        DEPLOY / "example.env",
        *(DEPLOY / "kubernetes").iterdir(),
        *(DEPLOY / "ecs").iterdir(),
        DEPLOY / "Containerfile",
    ]
    used = {name for file in files for name in re.findall(r"\b(?:HUB|SEPAY|PAYPAY)_[A-Z_]+\b", file.read_text())}

    assert used - known == set()
    assert len(used) > 10


def test_the_image_installs_what_is_locked_and_runs_as_nobody_in_particular() -> None:
    text = (DEPLOY / "Containerfile").read_text()

    assert "--require-hashes --requirement requirements.lock" in text
    copied = re.findall(r"^COPY (?!--)(.+) \S+$", text, re.MULTILINE)
    assert [name for names in copied for name in names.split() if not (ROOT / name).exists()] == []
    assert re.search(r"^USER 10001$", text, re.MULTILINE)
    assert re.findall(r"http://127\.0\.0\.1:8080(/\w+)", text) == ["/healthz"]


def test_compose_starts_the_hub_behind_tls_when_its_servers_are_ready(compose: dict[str, Any]) -> None:
    services = compose["services"]
    waits = services["hub"]["depends_on"]

    assert [name for name, one in services.items() if "443:443" in one.get("ports", ())] == ["proxy"]
    assert "ports" not in services["hub"]
    assert {name: how["condition"] for name, how in waits.items()} == dict.fromkeys(
        ("postgres", "rabbitmq"), "service_healthy"
    )
    assert all("healthcheck" in services[name] for name in waits)
    assert (DEPLOY / services["hub"]["build"]["dockerfile"].removeprefix("deploy/")).exists()
    assert float(services["hub"]["stop_grace_period"].rstrip("s")) > Settings().stop_deadline_s
    mounted = [volume.split(":")[0] for one in services.values() for volume in one.get("volumes", ())]
    assert [name for name in mounted if name.startswith("./") and not (DEPLOY / name).exists()] == []
    assert {name for name in mounted if not name.startswith("./")} == set(compose["volumes"])


def test_compose_trusts_exactly_the_network_of_its_proxy(compose: dict[str, Any]) -> None:
    [subnet] = [one["subnet"] for one in compose["networks"]["inside"]["ipam"]["config"]]
    trusted = compose["services"]["hub"]["environment"]["HUB_TRUSTED_PROXIES"]
    settings = load_settings({"HUB_TRUSTED_PROXIES": trusted})

    assert trusted == subnet
    assert client_address("10.77.0.5", ["9.9.9.9, 203.0.113.7"], settings.trusted_proxies) == "203.0.113.7"
    assert client_address("198.51.100.1", ["203.0.113.7"], settings.trusted_proxies) == "198.51.100.1"


def test_no_file_holds_a_secret(compose: dict[str, Any]) -> None:
    env = dict(
        line.split("=", 1)
        for line in (DEPLOY / "example.env").read_text().splitlines()
        if "=" in line and line[0] != "#"
    )
    asked = set(re.findall(r"\$\{(\w+):\?", (DEPLOY / "compose.yaml").read_text()))
    values = [str(value) for one in compose["services"].values() for value in one.get("environment", {}).values()]

    assert {name for name, value in env.items() if value} == {"HUB_PUBLIC_NAME"}
    assert asked <= set(env)
    assert [value for value in values if "PASSWORD" in value and "${" not in value] == []
    assert not [
        one
        for file in (DEPLOY / "kubernetes").glob("*.yaml")
        for one in documents(f"kubernetes/{file.name}")
        if one["kind"] == "Secret"
    ]


def test_kubernetes_probes_paths_that_there_are_and_stops_in_time(pod: dict[str, Any]) -> None:
    [hub] = pod["containers"]
    settings = of_kind("ConfigMap")["data"]
    probes = {kind: hub[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}

    assert {kind: probe["path"] for kind, probe in probes.items()} == {
        "startup": "/healthz",
        "liveness": "/healthz",
        "readiness": "/readyz",
    }
    assert {probe["port"] for probe in probes.values()} == {port["name"] for port in hub["ports"]} == {"http"}
    slept_s = float(hub["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > slept_s + float(settings["HUB_STOP_DEADLINE_S"])
    # The image's init container makes the tables, so that a replica need not.
    assert (settings["HUB_DATABASE_UPGRADE"], pod["initContainers"][0]["args"]) == ("0", ["db", "upgrade"])
    assert load_settings(dict(settings)).trusted_proxies
    mounted = {one["mountPath"] for one in hub["volumeMounts"]}
    assert "/var/lib/hub" in mounted
    assert hub["securityContext"]["readOnlyRootFilesystem"] is True


def test_kubernetes_keeps_one_of_two_replicas_and_finds_them(pod: dict[str, Any]) -> None:
    deployment = of_kind("Deployment")["spec"]
    labels = deployment["template"]["metadata"]["labels"]

    assert deployment["replicas"] == 2
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert of_kind("PodDisruptionBudget")["spec"] == {"minAvailable": 1, "selector": {"matchLabels": labels}}
    assert of_kind("Service")["spec"]["selector"] == deployment["selector"]["matchLabels"] == labels
    assert pod["securityContext"]["runAsUser"] == 10001


def test_the_ingress_takes_every_webhook_over_tls_and_nothing_that_is_for_inside() -> None:
    [rule] = of_kind("Ingress")["spec"]["rules"]
    [tls] = of_kind("Ingress")["spec"]["tls"]
    open_paths = tuple(one["path"] for one in rule["http"]["paths"])
    sources = YAML(typ="safe").load((ROOT / "routing.yaml").read_text())["sources"].values()
    webhooks = [
        path
        for one in sources
        if "webhook" in one
        for path in (one["webhook"]["path"], *one["webhook"].get("aliases", ()))
    ]

    assert [rule["host"]] == tls["hosts"]
    assert [path for path in webhooks if not path.startswith(tuple(f"{one}/" for one in open_paths))] == []
    assert not INSIDE & set(open_paths)
    assert {service["backend"]["service"]["name"] for service in rule["http"]["paths"]} == {
        of_kind("Service")["metadata"]["name"]
    }


def test_the_proxy_keeps_inside_what_is_for_inside() -> None:
    text = (DEPLOY / "Caddyfile").read_text()
    [kept] = re.findall(r"@inside path (.+)", text)

    assert set(kept.split()) >= INSIDE
    assert "respond @inside 404" in text
    assert "{$HUB_PUBLIC_NAME}" in text


@pytest.mark.parametrize("folder", ["kubernetes", "kubernetes-autoscaled"])
def test_kustomize_puts_it_together(folder: str) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    done = subprocess.run(
        ["kubectl", "kustomize", DEPLOY / folder], capture_output=True, text=True, timeout=TOOL_S_MAX, check=False
    )

    assert done.returncode == 0, done.stderr
    made = {one["kind"]: one for one in YAML(typ="safe").load_all(done.stdout)}
    assert {one["metadata"].get("namespace", one["metadata"]["name"]) for one in made.values()} == {"hub"}
    # Who scales says how many: never both.
    assert ("replicas" in made["Deployment"]["spec"]) == ("HorizontalPodAutoscaler" not in made)


def test_the_autoscaler_goes_by_the_backlogs_age_and_holds_still_while_something_is_paused() -> None:
    [scaler] = documents("kubernetes-autoscaled/autoscaler.yaml")
    [values] = documents("kubernetes-autoscaled/adapter-values.yaml")
    [rule] = values["rules"]["external"]
    [metric] = scaler["spec"]["metrics"]

    assert scaler["spec"]["scaleTargetRef"]["name"] == of_kind("Deployment")["metadata"]["name"]
    assert scaler["spec"]["minReplicas"] == of_kind("Deployment")["spec"]["replicas"]
    assert metric["external"]["metric"]["name"] == rule["name"]["as"]
    assert rule["seriesQuery"].startswith("hub_delivery_backlog_age_seconds{")
    assert rule["metricsQuery"].endswith("unless on() (max(hub_paused) > 0)")


def test_grafana_is_given_its_source_and_its_dashboards(compose: dict[str, Any]) -> None:
    grafana = compose["services"]["grafana"]
    [sources] = documents("grafana/provisioning/datasources/prometheus.yaml")
    [providers] = documents("grafana/provisioning/dashboards/hub.yaml")
    inside = {volume.split(":")[1]: volume.split(":")[0] for volume in grafana["volumes"]}

    assert [one["url"] for one in sources["datasources"]] == ["http://prometheus:9090"]
    assert "prometheus" in compose["services"]
    [folder] = [one["options"]["path"] for one in providers["providers"]]
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home.startswith(f"{folder}/")
    assert (DEPLOY / inside[folder] / home.removeprefix(f"{folder}/")).exists()
    # It asks nobody for a password, so only this machine may reach it.
    ports = [port for name in ("grafana", "prometheus") for port in compose["services"][name]["ports"]]
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed (Debian: apt-get install systemd)")
    text = (DEPLOY / "systemd/hub.service").read_text()
    unit = tmp_path / "hub.service"
    # Only whether the program is there differs from machine to machine.
    unit.write_text(
        text.replace("/opt/hub/.venv/bin/hub run", "/bin/true").replace(
            "file:///opt/hub/docs/operations.md", "man:true(1)"
        )
    )
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, timeout=TOOL_S_MAX, check=False
    )

    assert [line for line in done.stderr.splitlines() if "hub.service" in line] == []
    [stop_s] = re.findall(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    assert float(stop_s) > Settings().stop_deadline_s


def test_systemd_finds_the_unit_well_locked() -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed (Debian: apt-get install systemd)")
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=12", DEPLOY / "systemd/hub.service"],
        capture_output=True,
        text=True,
        timeout=TOOL_S_MAX,
        check=False,
    )

    # 0 is nothing allowed, 10 everything: above 1.2 it would exit otherwise.
    assert done.returncode == 0, done.stdout
