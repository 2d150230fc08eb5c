"""deploy/ecs: what the template makes is what Amazon's own API takes, under the names that are wanted."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from botocore.loaders import Loader  # type: ignore[import-untyped]
from botocore.model import ServiceModel  # type: ignore[import-untyped]
from botocore.validate import ParamValidator  # type: ignore[import-untyped]
from ruamel.yaml import YAML

from hub.app import ROLES
from hub.cli.catalogue import root
from hub.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
ECS = ROOT / "deploy/ecs"
STAGES = ("sand", "prod")
REGION, ACCOUNT = "ap-northeast-1", "123456789012"
PSEUDO = {"AWS::Region": REGION, "AWS::AccountId": ACCOUNT, "AWS::Partition": "aws"}
OPERATIONS = {
    "AWS::ECS::TaskDefinition": ("ecs", "RegisterTaskDefinition"),
    "AWS::ECS::Service": ("ecs", "CreateService"),
    "AWS::Logs::LogGroup": ("logs", "CreateLogGroup"),
}
"""Resource → what makes one."""


@cache
def template() -> dict[str, Any]:
    return dict(YAML(typ="safe").load((ECS / "hub.yaml").read_text()))


@cache
def made(stage: str) -> dict[str, dict[str, Any]]:
    """The properties of every resource, with all references resolved as CloudFormation does."""
    given = {one["ParameterKey"]: one["ParameterValue"] for one in json.loads((ECS / f"{stage}.json").read_text())}
    values: dict[str, Any] = dict(PSEUDO)
    for name, declared in template()["Parameters"].items():
        value = given.get(name, declared.get("Default"))
        values[name] = value.split(",") if declared["Type"].startswith("List<") else value
        if declared["Type"] == "Number":
            values[name] = int(value)
    names = {name: f"name-of-{name}" for name in template()["Resources"]}
    return {name: resolved(one["Properties"], values | names) for name, one in template()["Resources"].items()}


def resolved(value: Any, known: dict[str, Any]) -> Any:
    if isinstance(value, list):
        return [resolved(one, known) for one in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"Ref"}:
        return known[value["Ref"]]
    if set(value) == {"Fn::Sub"}:
        return re.sub(r"\$\{([\w:]+)\}", lambda found: str(known[found[1]]), value["Fn::Sub"])
    return {name: resolved(one, known) for name, one in value.items()}


def as_the_api_spells(value: Any) -> Any:
    if isinstance(value, list):
        return [as_the_api_spells(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {name[:1].lower() + name[1:]: as_the_api_spells(one) for name, one in value.items()}


@cache
def service(name: str) -> ServiceModel:
    return ServiceModel(Loader().load_service_model(name, "service-2"))


def problems(api: str, operation: str, arguments: dict[str, Any]) -> str:
    shape = service(api).operation_model(operation).input_shape
    return str(ParamValidator().validate(arguments, shape).generate_report())


def containers(stage: str, task: str) -> list[dict[str, Any]]:
    return list(made(stage)[task]["ContainerDefinitions"])


@pytest.mark.parametrize("stage", STAGES)
def test_amazon_takes_what_the_template_makes(stage: str) -> None:
    kinds = {name: one["Type"] for name, one in template()["Resources"].items()}

    for name, properties in made(stage).items():
        if kinds[name] == "AWS::Events::Rule":
            *_, targets = properties.values()
            rule = {one: value for one, value in properties.items() if one != "Targets"}
            [target] = properties["Targets"]
            network = target["EcsParameters"]["NetworkConfiguration"]
            spelt = {"awsvpcConfiguration": network["AwsVpcConfiguration"]}
            sent = target | {"EcsParameters": target["EcsParameters"] | {"NetworkConfiguration": spelt}}
            assert problems("events", "PutRule", rule) == ""
            assert problems("events", "PutTargets", {"Rule": rule["Name"], "Targets": [sent]}) == ""
            assert targets
        else:
            arguments = as_the_api_spells(properties)
            arguments.pop("retentionInDays", None)
            assert problems(*OPERATIONS[kinds[name]], arguments) == "", name


def test_what_amazon_would_refuse_is_found() -> None:
    arguments = as_the_api_spells(made("sand")["Worker"])

    assert "Unknown parameter" in problems("ecs", "CreateService", arguments | {"desiredCounts": 1})
    assert "Invalid type" in problems("ecs", "CreateService", arguments | {"desiredCount": "1"})


@pytest.mark.parametrize("stage", STAGES)
def test_everything_has_the_name_that_is_wanted(stage: str) -> None:
    found = made(stage)
    worker, check = f"{stage}-kokunai-django-give-cashback-worker", f"{stage}_check_status_paypay_cashback"

    assert {found[name]["Cluster"] for name in ("Api", "Worker")} == {f"{stage}-cluster01"}
    assert (found["Worker"]["ServiceName"], found["WorkerTask"]["Family"]) == (worker, worker)
    assert (found["Check"]["Name"], found["CheckTask"]["Family"]) == (check, check)
    [target] = found["Check"]["Targets"]
    assert target["Arn"] == f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/{stage}-cluster01"
    page = (ROOT / "docs/runbooks/ecs.md").read_text()
    assert [name for name in (worker, check, f"{stage}-cluster01", f"{stage}-hub-api") if f"`{name}`" not in page] == []


def test_the_api_is_deployed_first_then_the_worker_then_the_status_task() -> None:
    after = {name: one.get("DependsOn") for name, one in template()["Resources"].items() if not name.endswith("Task")}

    assert after == {"Logs": None, "Api": None, "Worker": "Api", "Check": "Worker"}


def test_the_services_do_all_that_the_hub_does_and_nothing_twice() -> None:
    roles = [
        command[number + 1]
        for task in ("ApiTask", "WorkerTask")
        for one in containers("sand", task)
        for command in [one["Command"]]
        for number, word in enumerate(command)
        if word == "--role"
    ]

    assert sorted(roles) == sorted(ROLES)


@pytest.mark.parametrize("task", ["ApiTask", "WorkerTask", "CheckTask"])
def test_a_task_is_locked_up_has_its_secrets_and_time_to_end(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)

    for one in containers("prod", task):
        variables = {pair["Name"]: pair["Value"] for pair in one["Environment"]}
        assert (one["ReadonlyRootFilesystem"], one["User"]) == (True, "10001")
        assert one["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}
        assert {pair["Name"] for pair in one["Secrets"]} >= {"HUB_DATABASE_URL", "HUB_BROKER_URL", "PAYPAY_API_SECRET"}
        assert not {pair["Name"] for pair in one["Secrets"]} & set(variables)
        assert variables["PAYPAY_MODE"] == "production"
        words = [word for word in one["Command"] if not word.startswith("-") and word not in ROLES]
        assert root().main([*words, "--help"], prog_name="hub", standalone_mode=False) in (None, 0)
        if words == ["run"]:
            assert one["StopTimeout"] > float(variables["HUB_STOP_DEADLINE_S"]) == Settings().stop_deadline_s
            assert (variables["HUB_REFRESH"], variables["HUB_REFRESH_ZONE"]) == ("0 0 * * *", "Asia/Tokyo")
            # Where nothing comes in the probes have a port of their own.
            assert "http://127.0.0.1:8080/healthz" in one["HealthCheck"]["Command"][-1]
            assert ("ingress" in one["Command"]) == ("HUB_PROBES_PORT" not in variables)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_gives_what_the_template_asks_for_and_no_secret(stage: str) -> None:
    given = {one["ParameterKey"]: one["ParameterValue"] for one in json.loads((ECS / f"{stage}.json").read_text())}
    declared = template()["Parameters"]

    assert set(given) <= set(declared)
    assert {name for name, one in declared.items() if "Default" not in one} <= set(given)
    assert all(given[name] in one["AllowedValues"] for name, one in declared.items() if "AllowedValues" in one)
    assert (given["Stage"], given["PayPayMode"]) == (stage, "production" if stage == "prod" else "sandbox")
    assert [one for one in given.values() if "AKIA" in one or "amqp://" in one or "postgresql://" in one] == []
