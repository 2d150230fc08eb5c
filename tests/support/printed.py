"""Commands as a page prints them, run in one bash beside a daemon, and what the page says they print.

``hub`` is a function there, which has a process that imported everything once run the command (``ready.py``): the same
command line, without the second and a half that each would import. HUB_TEST_LONG=1 runs the program itself.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.running import PROJECT

START_S_MAX = 120.0
SETTLE_S_MAX = 120.0
STOP_S_MAX = 120.0
READY = PROJECT / "tests/support/ready.py"

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_EXITS = re.compile(r"# exits (\d)$")
_MARK = "--the-command-has-ended--"
GAP = "…"


@dataclass(frozen=True)
class Block:
    """The commands of one ``sh`` fence, and the lines of the ``text`` fence behind it."""

    commands: tuple[str, ...]
    printed: list[str] = field(default_factory=list)

    def missing_from(self, output: str) -> list[str]:
        """The lines that the output does not hold, one behind another; a gap stands for the rest of a line."""
        missing, at = [], 0
        for line in self.printed:
            found = re.compile(_as_pattern(line)).search(output, at)
            if found is None:
                missing.append(line)
            else:
                at = found.end()
        return missing


def blocks_of(page: str) -> list[Block]:
    """Every ``sh`` fence of a page, in order."""
    blocks: list[Block] = []
    for language, text in _FENCE.findall(page):
        if language == "sh":
            blocks.append(Block(tuple(_commands(text))))
        elif language == "text" and blocks:
            blocks[-1].printed.extend(text.splitlines())
    return blocks


def section(page: str, heading: str) -> str:
    """The part of a page from this heading of the second level to the next."""
    found = re.search(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert found is not None, f"there is no section {heading!r}"
    return found[1]


def _commands(text: str) -> Iterator[str]:
    whole = ""
    for line in text.splitlines():
        whole += line
        if whole.endswith("\\"):
            whole += "\n"
        elif whole.strip() and not whole.startswith("#"):
            yield whole
            whole = ""


def exit_code_of(command: str) -> int:
    """What a command is said to end with; 0 where nothing is said."""
    found = _EXITS.search(command)
    return int(found[1]) if found else 0


def _as_pattern(line: str) -> str:
    pieces = [r"[ ]+".join(map(re.escape, piece.split())) for piece in line.split(GAP)]
    return r"[^\n]*?".join(pieces)


class Bash:
    """One shell: a variable that a command sets is there for the next."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, command: str) -> tuple[int, str]:
        """The exit code and everything that was printed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{{ {command}\n}} </dev/null; printf '\\n{_MARK} %s\\n' $?\n")
        self._process.stdin.flush()
        printed = ""
        for line in self._process.stdout:
            if line.startswith(_MARK):
                return int(line.split()[1]), printed
            printed += line
        raise AssertionError(f"the shell ended in the middle of: {command}\n{printed}")


@contextmanager
def bash(folder: Path, environ: Mapping[str, str]) -> Iterator[Bash]:
    """A shell in this folder with this environment and nothing else."""
    is_long = os.environ.get("HUB_TEST_LONG", "0") != "0"
    forks: AbstractContextManager[list[str]] = nullcontext([]) if is_long else forking(folder, environ)
    with (
        forks as how,
        subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=dict(environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process,
    ):
        try:
            shell = Bash(process)
            if how:
                shell.run(f'hub() {{ {shlex.join(how)} "$@"; }}')
            yield shell
        finally:
            process.kill()


@contextmanager
def forking(folder: Path, environ: Mapping[str, str]) -> Iterator[list[str]]:
    """The words that run a command of the hub, to be followed by its own; what they start is gone in the end."""
    with tempfile.TemporaryDirectory(prefix="hub-ready-") as place, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{place}/socket")
        listener.listen()
        number = listener.fileno()
        process = subprocess.Popen(
            [sys.executable, str(READY), str(number)], cwd=folder, env=dict(environ), pass_fds=[number]
        )
        try:
            yield [sys.executable, "-IS", str(READY), f"{place}/socket"]
        finally:
            process.kill()
            process.wait()


def run_as_printed(blocks: Sequence[Block], folder: Path, environ: Mapping[str, str]) -> None:
    """Run every command and compare; between two commands the hub comes to rest, as it does while a person reads."""
    with bash(folder, environ) as shell:
        for block in blocks:
            output = ""
            for command in block.commands:
                code, printed = shell.run(command)
                output += printed
                assert code == exit_code_of(command), f"{command}\nexit code {code}\n{printed}"
                _wait_until_nothing_is_left_to_do(Path(environ["HUB_HOME"]) / "hub.db")
            assert block.missing_from(output) == [], output


@contextmanager
def daemon(folder: Path, environ: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """``hub run`` in this folder, started as ``make run`` does and answering. Stops in order in the end."""
    command = [str(PROJECT / ".venv/bin/hub"), "run"]
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, cwd=folder, env={**environ, "HUB_SANDBOX": "1"}, stdout=output, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            _wait_until_it_answers(f"http://127.0.0.1:{environ['HUB_PORT']}/healthz", process, log)
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_S_MAX)
            except subprocess.TimeoutExpired:
                process.kill()


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def _wait_until_it_answers(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_S_MAX
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise AssertionError(f"the hub did not answer within {START_S_MAX:g} s\n{log.read_text()}")


def _wait_until_nothing_is_left_to_do(database: Path) -> None:
    """A person is slower than the hub; a test would look before the deliveries are done."""
    end = time.monotonic() + SETTLE_S_MAX
    while time.monotonic() < end:
        connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
        try:
            [(left,)] = connection.execute(
                "SELECT (SELECT count(*) FROM deliveries WHERE state IN ('ready', 'waiting', 'calling', 'retrying'))"
                " + (SELECT count(*) FROM outbox WHERE state IN ('ready', 'waiting'))"
            )
        finally:
            connection.close()
        if left == 0:
            return
        time.sleep(0.02)
    raise AssertionError(f"{left} deliveries and messages are still open after {SETTLE_S_MAX:g} s")
