"""When the supervisor gives up, and when it starts a child again."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest

from hub.cli import supervisor as module
from hub.cli.output import EXIT_USAGE
from hub.cli.supervisor import Supervisor
from tests.support.patience import until

CHILD = """\
import os, sys, pathlib
line = int(sys.argv[-1].partition(":")[0])
lives = pathlib.Path({lives!r})
lives.write_text(lives.read_text() + "x" if lives.exists() else "x")
if len(lives.read_text()) in {good}:
    os.write(line, b"s")
    sys.exit(1)
sys.exit(2)
"""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESTART_S_FIRST", 0.01)
    monkeypatch.setattr(module, "RESTART_S_MAX", 0.01)


async def _run(monkeypatch: pytest.MonkeyPatch, lives: Path, good: tuple[int, ...]) -> tuple[int, int]:
    """Children that start in these of their lives and say in the others that the settings are wrong."""
    script = CHILD.format(lives=str(lives), good=good)
    started = asyncio.create_subprocess_exec

    async def instead(program: str, _m: str, _hub: str, _run: str, *rest: str, **options: Any) -> object:
        return await started(program, "-c", script, *rest, **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", instead)
    one = Supervisor(1, [], listening=None, deadline_s=1.0)
    running = asyncio.create_task(one.run())
    await until(lambda: running.done() or _count(lives) >= 4)
    one.stop()
    return await running, _count(lives)


def _count(lives: Path) -> int:
    return len(lives.read_text()) if lives.exists() else 0


@pytest.mark.usefixtures("quick")
async def test_wrong_settings_end_the_supervisor_while_no_child_has_ever_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code, lives = await _run(monkeypatch, tmp_path / "lives", ())

    assert (code, lives) == (EXIT_USAGE, 1)


@pytest.mark.usefixtures("quick")
async def test_a_child_that_finds_the_settings_wrong_later_is_started_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code, lives = await _run(monkeypatch, tmp_path / "lives", (1, 4))

    assert lives >= 4
    assert code != EXIT_USAGE


async def test_a_signal_goes_to_the_children_that_have_started_and_to_no_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = CHILD_THAT_WAITS.format(folder=str(tmp_path))
    started = asyncio.create_subprocess_exec

    async def instead(program: str, _m: str, _hub: str, _run: str, *rest: str, **options: Any) -> object:
        return await started(program, "-c", script, *rest, **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", instead)
    one = Supervisor(2, [], listening=None, deadline_s=1.0)
    running = asyncio.create_task(one.run())
    await until(lambda: (tmp_path / "0-is-up").exists() and (tmp_path / "1-waits").exists())
    # The second has not said that it has started: this would be its end.
    await until(lambda: _told(one, tmp_path))

    (tmp_path / "go").touch()
    await until((tmp_path / "1-is-up").exists)
    one.stop()
    await running

    # A second life of it would have ended here: its mark would have been there.
    assert _count(tmp_path / "lives") == 2


def _told(one: Supervisor, folder: Path) -> bool:
    one.tell(signal.SIGUSR1)
    return (folder / "0-was-told").exists()


CHILD_THAT_WAITS = """\
import os, sys, pathlib, signal, time
line, _, _, number, _ = sys.argv[-1].split(":", 4)
folder = pathlib.Path({folder!r})
(folder / (number + "-waits")).touch()
lives = folder / "lives"
with lives.open("a") as file:
    file.write("x")
while number == "1" and not (folder / "go").exists():
    time.sleep(0.01)
signal.signal(signal.SIGUSR1, lambda *_: (folder / (number + "-was-told")).touch())
os.write(int(line), b"s")
(folder / (number + "-is-up")).touch()
while True:
    time.sleep(0.05)
"""
