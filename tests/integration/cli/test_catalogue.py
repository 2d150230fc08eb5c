"""The list of commands: complete, quick, and there also where routing.yaml is not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hub.cli.catalogue import COMMANDS, root
from hub.cli.lazy import LazyCommand
from tests.integration.cli.commanding import Cli
from tests.support.running import PROJECT

SENTENCES = {name: sentence for entries in COMMANDS.values() for name, (_, sentence) in entries.items()}
HEAVY = ("sqlalchemy", "aiohttp", "pydantic", "handlers.sepay", "hub.app")

PROBE = '''
"""Probe: a capability of a test."""

import typer

from hub.capability import Capability, CheckResult

cli = typer.Typer(no_args_is_help=True)
player = typer.Typer(no_args_is_help=True)


@cli.command("look")
def look() -> None:
    """Look."""
    typer.echo("looked")


@cli.command("again")
def again() -> None:
    """Again."""


@player.command("play")
def play() -> None:
    """Play."""
    typer.echo("played")


@player.command("stop")
def stop() -> None:
    """Stop."""


async def checks(api):
    return [CheckResult("port", True, str(api.settings.port)), CheckResult("key", False, "set PROBE_KEY")]


capability = Capability(name="probe", cli=cli, sandbox_cli=player, checks=checks)
'''


@pytest.fixture
def probe(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cli]:
    """A hub with one small capability that brings commands, a sandbox and checks."""
    package = cli.home / "packages" / "probe_capability"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(PROBE)
    monkeypatch.syspath_prepend(str(package.parent))
    cli.set({"HUB_ROUTING": str(cli.write("routing.yaml", "version: 1\ncapabilities:\n  - probe_capability\n"))})
    yield cli
    sys.modules.pop("probe_capability", None)


def _commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that can be called, with the words that call it."""
    real = command._load() if isinstance(command, LazyCommand) else command
    inner = getattr(real, "commands", None)
    if inner is None:
        yield path, real
        return
    for name, one in inner.items():
        yield from _commands(one, (*path, name))


EVERY = dict(_commands(root()))


def test_the_list_of_commands_shows_each_with_its_sentence(cli: Cli) -> None:
    answer = cli("--help")

    assert answer.code == 0
    for name, sentence in SENTENCES.items():
        assert f" {name} " in answer.out
        assert sentence in answer.words


@pytest.mark.parametrize("name", SENTENCES)
def test_a_command_says_of_itself_what_the_list_says_of_it(cli: Cli, name: str) -> None:
    answer = cli(name, "--help")

    assert answer.code == 0
    assert SENTENCES[name].rstrip(".") in answer.words


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
def test_every_command_can_answer_in_json_and_shows_an_example(path: tuple[str, ...]) -> None:
    command = EVERY[path]
    if path == ("run",):
        return

    assert "--json" in [option for parameter in command.params for option in parameter.opts]
    assert f"hub {' '.join(path)}" in command.help


def test_listing_the_commands_imports_none_of_them() -> None:
    script = (
        "import sys\nfrom hub.cli.catalogue import root\n"
        "root().main(['--help'], prog_name='hub', standalone_mode=False)\n"
        f"sys.stderr.write(' '.join(name for name in {HEAVY!r} if name in sys.modules))\n"
    )

    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=False)

    assert "sepay" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", None),
        ("version: 1\n", None),
        ("capabilities: [handlers.sepay\nroutes: {", "routing.yaml:2:"),
        ("\tcapabilities:\n", "routing.yaml:1:"),
        ("capabilities: [no.such.package]\n", "there is no package no.such.package"),
    ],
)
def test_the_list_of_commands_works_with_any_routing_file_and_says_what_is_absent(
    cli: Cli, text: str, said: str | None
) -> None:
    cli.set({"HUB_ROUTING": str(cli.write("routing.yaml", text))})

    answer = cli("--help")

    assert answer.code == 0
    assert " ledger " in answer.out
    assert " sepay " not in answer.out
    assert ("absent" in answer.words) == (said is not None)
    assert said is None or said in answer.out.replace("\n", "").replace(" ", "") or said in answer.words


def test_without_a_routing_file_a_capabilitys_command_says_why_it_is_absent(cli: Cli) -> None:
    cli.set({"HUB_ROUTING": "/nowhere/routing.yaml"})

    help_text, called = cli("--help"), cli("sepay", "wallet")

    assert help_text.code == 0
    assert "/nowhere/routing.yaml cannot be read: No such file or directory" in help_text.words
    assert called.code == 2
    assert "No such command 'sepay'" in called.words
    assert "/nowhere/routing.yaml cannot be read" in called.words


def test_a_mistyped_command_is_answered_with_the_nearest_one(cli: Cli) -> None:
    answer = cli("ledgr")

    assert answer.code == 2
    assert "Did you mean 'ledger'?" in answer.words


def test_a_capabilitys_commands_are_mounted(cli: Cli) -> None:
    group, sandbox = cli("sepay", "--help"), cli("sandbox", "--help")

    assert "wallet" in group.out
    assert "sepay" in sandbox.out


def test_a_new_capability_brings_commands_a_sandbox_and_checks_without_a_change_here(probe: Cli) -> None:
    listed, called, played = probe("--help"), probe("probe", "look"), probe("sandbox", "probe", "play")
    doctor = probe("doctor", "probe", "--json")

    assert "Probe: a capability of a test." in listed.words
    assert called.out == "looked\n"
    assert played.out == "played\n"
    assert doctor.code == 1
    assert [one["ok"] for one in doctor.json] == [True, False]
    assert "set PROBE_KEY" in probe("doctor", "probe").out


def test_the_version_is_told(cli: Cli) -> None:
    answer = cli("--version")

    assert answer.code == 0
    assert answer.out.startswith("hub ")


def test_the_package_runs_as_a_module_and_is_quiet_when_its_reader_leaves(tmp_path: Path) -> None:
    hub = f"HUB_HOME={tmp_path} {sys.executable} -m hub"

    done = subprocess.run(
        ["bash", "-c", f"{hub} routes list --json | head -c 1"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout == "["
    assert done.stderr == ""


def test_colours_are_left_out_where_they_are_not_wanted(tmp_path: Path) -> None:
    environ = {"HUB_HOME": str(tmp_path), "FORCE_COLOR": "1", "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-m", "hub", "publish", "/nowhere", "--source", "loymax"]

    coloured = subprocess.run(command, cwd=PROJECT, env=environ, capture_output=True, text=True, check=False)
    plain = subprocess.run(
        command, cwd=PROJECT, env=environ | {"NO_COLOR": "1"}, capture_output=True, text=True, check=False
    )

    assert "\x1b[31m" in coloured.stderr
    assert "\x1b[3" not in plain.stderr
