"""Runs the tests that should notice a mutant, and tells which did: ``python -m tests.mutants.catching FOLDER``.

Reads one order per line on standard input, ``{"mutant": "5" or null, "tests": [node ids], "deadline_s": 60}``, and
writes one line for each: what became of every test. Each order has a forked process of its own, so that nothing of a
mutant is left behind, and the imports are paid for once. The tests are the very ones of the suite, run by pytest; they
are imported after the mutant was planted, and so find it wherever they take something from the hub by name.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
import pkgutil
import re
import select
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis.configuration import set_hypothesis_home_dir

import tests.support
from tests.mutants.noticed import TELLING, TOLD
from tests.mutants.planting import VARIABLE, everywhere
from tests.mutants.quick import PATIENCE_S, give_template, impatient
from tests.mutants.registry import by_name
from tests.support import patience
from tests.support.running import PROJECT
from tests.support.servers import new_name

SITE = Path(__file__).parent / "site"
ARGUMENTS = (
    "-q", "-p", "pytest_asyncio.plugin", "-p", "pytest_timeout", "-p", "_hypothesis_pytestplugin",
    "-p", "tests.mutants.quick",
    "-p", "no:cacheprovider",
    "-W", "ignore::pytest.PytestAssertRewriteWarning",
    "-o", "faulthandler_timeout=0", "--timeout-method", "signal",
)  # fmt: skip
WORDS_MAX = 160
NEEDS_A_SERVER = frozenset({"pgbouncer", "broker_node", "postgres_cluster", "pubsub_emulator"})


def main() -> None:
    told = os.fdopen(os.dup(1), "w", buffering=1)
    # Whatever else is printed is no answer.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    folder = Path(sys.argv[1])
    give_template(folder / f"{new_name()}.db")
    for module in pkgutil.iter_modules(tests.support.__path__):
        if module.name not in NEEDS_A_SERVER:
            importlib.import_module(f"tests.support.{module.name}")
    gc.freeze()
    for line in sys.stdin:
        order = json.loads(line)
        told.write(json.dumps(_in_a_process_of_its_own(order, folder)) + "\n")


def _in_a_process_of_its_own(order: Mapping[str, Any], folder: Path) -> Any:
    out, into = os.pipe()
    before = os.times()
    pid = os.fork()
    if pid == 0:
        os.close(out)
        code = 1
        try:
            os.setsid()
            found = _run(order, folder)
            with os.fdopen(into, "w") as pipe:
                json.dump(found, pipe)
            code = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        os._exit(code)
    os.close(into)
    said = _heard(out, order["deadline_s"])
    # Whatever has not ended, and whatever a test has started and left.
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    after = os.times()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    told: dict[str, Any] = json.loads(said) if said else {"tests": {}, "ended": "before its time was over"}
    return told | {"mutant": order["mutant"], "cpu_s": cpu_s}


def _heard(out: int, deadline_s: float) -> str:
    """What is said until the other end is closed; what was said so far, where that takes too long."""
    said, end = b"", time.monotonic() + deadline_s
    with os.fdopen(out, "rb", buffering=0) as pipe:
        while select.select([pipe], [], [], max(0.0, end - time.monotonic()))[0]:
            chunk = pipe.read(1 << 16)
            if not chunk:
                break
            said += chunk
    return said.decode()


def _run(order: Mapping[str, Any], folder: Path) -> Any:
    """In the forked process: plant the mutant, run the tests, tell."""
    shown = os.open(order["log"] or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(shown, 1)
    os.dup2(shown, 2)
    set_hypothesis_home_dir(str(folder / "hypothesis"))
    # Half of the plugins are of no use here, and one takes longer than most tests.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    os.environ[TELLING if order["mutant"] is not None else TOLD] = str(folder)
    witness = Witness()
    with ExitStack() as stack:
        if order["mutant"] is not None:
            stack.enter_context(_processes_are_mutants(order["mutant"]))
            stack.enter_context(by_name(order["mutant"]).plant())
            stack.enter_context(everywhere(patience.until, impatient(PATIENCE_S), also=("tests",)))
        base = f"--basetemp={folder / f'run{os.getpid()}'}"
        bound = f"--timeout={order['test_s']}"
        code = pytest.main([*ARGUMENTS, base, bound, f"--rootdir={PROJECT}", *order["tests"]], plugins=[witness])
    return {"tests": witness.seen, "ended": str(code)}


class Witness:
    """A pytest plugin that remembers what became of each test."""

    def __init__(self) -> None:
        self.seen: dict[str, dict[str, Any]] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
        report = yield
        told = self.seen.setdefault(item.nodeid, {"outcome": "passed", "when": "", "error": "", "words": ""})
        told["is_property"] = bool(getattr(getattr(item, "obj", None), "is_hypothesis_test", False))
        told["s"] = told.get("s", 0.0) + call.duration
        if report.outcome != "passed" and told["outcome"] == "passed":
            told.update(outcome=report.outcome, when=call.when)
            if call.excinfo is not None:
                words = str(call.excinfo.value).strip().splitlines() or [""]
                told.update(error=call.excinfo.typename, words=re.sub(r"\s+", " ", words[0])[:WORDS_MAX])
        return report


def _processes_are_mutants(name: str) -> Any:
    """Every Python that a test starts is the mutant too."""
    path = os.pathsep.join((str(SITE), str(PROJECT)))
    mine = {VARIABLE: name, "PYTHONPATH": path}
    original = asyncio.create_subprocess_exec

    async def started(*arguments: Any, env: Mapping[str, str] | None = None, **more: Any) -> Any:
        return await original(*arguments, env={**(os.environ if env is None else env), **mine}, **more)

    return patch.object(asyncio, "create_subprocess_exec", started)


if __name__ == "__main__":
    main()
