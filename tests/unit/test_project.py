"""The project's own files agree with each other: locks, dependencies, documentation, scripts."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements.lock", "requirements-dev.lock")
SCRIPTS = (".ci/run", *(f"deploy/dev/{name}.sh" for name in ("venv", "servers", "test", "lock", "uv")))
ADDRESS = re.compile(r"\w+://|^\s*-(?:i|f|-index-url|-extra-index-url|-find-links)\b|\s@\s", re.MULTILINE)
MAKE_S_MAX = 10


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lock: str) -> dict[str, str]:
    return {normal(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+)", lock, re.MULTILINE)}


def packages_without_a_hash(lock: str) -> list[str]:
    entries = re.split(r"^(?=[\w.-]+==)", lock, flags=re.MULTILINE)[1:]
    return [entry.split("==")[0] for entry in entries if "--hash=sha256:" not in entry]


def direct_dependencies() -> Iterator[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for requirement in (*project["dependencies"], *project["optional-dependencies"]["dev"]):
        match = re.match(r"[\w.-]+", requirement)
        assert match is not None, requirement
        yield normal(match[0])


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_file_holds_no_address(name: str) -> None:
    lock = (ROOT / name).read_text()

    assert ADDRESS.findall(lock) == []


@pytest.mark.parametrize(
    "line",
    [
        "--index-url host",
        "--find-links /some/where",
        "-i host",
        "hub @ git",
        "# from file:///srv/simple",
    ],
)
def test_an_address_in_a_lock_file_would_be_noticed(line: str) -> None:
    lock = f"aiohttp==3.14.5\n{line}\n"

    assert ADDRESS.search(lock) is not None


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_a_hash(name: str) -> None:
    lock = (ROOT / name).read_text()

    assert len(pins(lock)) > 0
    assert packages_without_a_hash(lock) == []


def test_what_is_tested_is_what_runs() -> None:
    running = pins((ROOT / "requirements.lock").read_text())
    tested = pins((ROOT / "requirements-dev.lock").read_text())

    assert {name: tested.get(name) for name in running} == running


def test_every_direct_dependency_is_locked() -> None:
    tested = pins((ROOT / "requirements-dev.lock").read_text())

    assert [name for name in direct_dependencies() if name not in tested] == []


def test_every_direct_dependency_is_explained_and_no_other() -> None:
    explained = re.findall(r"^\| ([\w.-]+) \|", (ROOT / "docs/dependencies.md").read_text(), re.MULTILINE)

    assert sorted(normal(name) for name in explained if name not in {"package", "file"}) == sorted(
        direct_dependencies()
    )


def test_the_top_level_is_as_the_readme_says() -> None:
    readme = (ROOT / "README.md").read_text()
    named = re.findall(r"^\| `([\w.-]+/?)` \|", readme, re.MULTILINE)

    assert {"hub/", "handlers/", "schemas/", "routing.yaml", "deploy/", "tests/", "benchmarks/", "docs/"} == set(named)
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_parses_and_may_be_executed(name: str) -> None:
    parsed = subprocess.run(
        ["bash", "-n", ROOT / name], capture_output=True, text=True, timeout=MAKE_S_MAX, check=False
    )

    assert parsed.stderr == ""
    assert os.access(ROOT / name, os.X_OK)


@pytest.mark.parametrize("target", ["run", "test", "faults", "bench", "fmt", "lock", "audit", "clean"])
def test_make_knows_the_target(target: str) -> None:
    planned = subprocess.run(
        ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, timeout=MAKE_S_MAX, check=False
    )

    assert planned.returncode == 0, planned.stderr


def test_the_changelog_keeps_its_order() -> None:
    order = ["Security", "Removed", "Deprecated", "Added", "Changed", "Fixed"]
    _, *releases = re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)

    assert releases[0].startswith("Unreleased")
    for release in releases:
        headings = re.findall(r"^### (.+)$", release, re.MULTILINE)
        assert headings == sorted(headings, key=order.index)
