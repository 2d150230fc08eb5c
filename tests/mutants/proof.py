"""Which tests notice which mutant: asks ``catching.py``, and puts what it tells into a table."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tests.mutants.registry import MUTANTS, NUMBERS, by_name
from tests.support.running import PROJECT

UNIT, INTEGRATION, GRID, KILL, SIMULATION = "unit or property", "integration", "crash grid", "real kill", "simulation"
KINDS: Final = (UNIT, INTEGRATION, GRID, KILL, SIMULATION)
GRIDS: Final = ("hunting.py::test_the_hub_dies", "_crashes.py::")
KILLS: Final = ("test_storms.py::", "test_stopped_process.py::", "app/test_process.py::", "hunting.py::test_a_kill")
OWN_MISTAKES: Final = frozenset({"ImportError", "ModuleNotFoundError", "NameError", "SyntaxError"})
"""A test that fails like this has met a mistake in the mutant itself, and has noticed nothing."""
CHEAP_S, DEAR_S = 300, 1_200
"""How long the tests of one mutant may take, and below each of them: one that hangs has noticed something."""
CHEAP_TEST_S, DEAR_TEST_S = 60, 180


def kind_of(test: str, *, is_property: bool) -> str:
    """What kind of test this is: each kind looks at the hub in another way."""
    if is_property or test.startswith("tests/unit/"):
        return UNIT
    if any(part in test for part in GRIDS):
        return GRID
    if any(part in test for part in KILLS):
        return KILL
    return SIMULATION if test.startswith("tests/simulation/") else INTEGRATION


@dataclass(frozen=True, slots=True)
class Catch:
    """One test and what it said about one mutant."""

    test: str
    kind: str
    has_caught: bool
    words: str


@dataclass
class Found:
    """``catches`` by mutant; ``broken`` are tests that do not pass without one."""

    catches: dict[str, list[Catch]] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    passed_without: int = 0
    cpu_s: dict[str, float] = field(default_factory=dict)
    """What it took, by mutant."""

    def kinds(self, name: str) -> list[str]:
        """The kinds of test that have caught it."""
        return [kind for kind in KINDS if any(one.kind == kind and one.has_caught for one in self.catches[name])]

    def by_number(self) -> dict[str, set[str]]:
        """The kinds of test that have noticed a defect in one of the ways that it is planted in."""
        kinds: defaultdict[str, set[str]] = defaultdict(set)
        for name in self.catches:
            kinds[number_of(name)].update(self.kinds(name))
        return kinds

    def missing(self, *, is_all: bool) -> list[str]:
        """Mutants that too few kinds of test have noticed, tests that did not, and tests that do not pass at all."""
        few = 2 if is_all else 1
        words = [
            f"{number}: noticed by {len(kinds)} kinds of test"
            for number, kinds in self.by_number().items()
            if len(kinds) < few
        ]
        words += [
            f"{name}: not noticed by {one.test} ({one.words})"
            for name, catches in self.catches.items()
            for one in catches
            if not one.has_caught
        ]
        return words + [f"does not pass without a mutant: {test}" for test in self.broken]


def proof(
    names: Sequence[str],
    *,
    is_all: bool = False,
    is_clean: bool = False,
    tests: Sequence[str] | None = None,
    log: str = "",
) -> Found:
    """Plant each of these mutants and run its tests."""
    found = Found()
    deadline_s, test_s = (DEAR_S, DEAR_TEST_S) if is_all or tests else (CHEAP_S, CHEAP_TEST_S)
    orders: list[dict[str, Any]] = []
    for name in names:
        mutant = by_name(name)
        wanted = list(tests if tests is not None else [*mutant.cheap, *(mutant.dear if is_all else ())])
        orders.append({"mutant": name, "tests": wanted, "deadline_s": deadline_s, "test_s": test_s, "log": log})
    if is_clean:
        every = sorted({test for order in orders for test in order["tests"]})
        orders.append({"mutant": None, "tests": every, "deadline_s": 2 * DEAR_S, "test_s": DEAR_S, "log": log})
    for told, order in zip(_asked(orders), orders, strict=True):
        found.cpu_s[told["mutant"] or ""] = told["cpu_s"]
        if told["mutant"] is None:
            for test in order["tests"]:
                seen = _seen_of(told["tests"], test)
                passed = bool(seen) and all(one["outcome"] == "passed" for one in seen.values())
                found.passed_without += passed
                found.broken += [] if passed else [f"{test}: {told['ended']} {seen}"]
            continue
        found.catches[told["mutant"]] = [
            catch for test in order["tests"] for catch in _catches(test, _seen_of(told["tests"], test), told["ended"])
        ]
    return found


def _seen_of(tests: dict[str, Any], asked: str) -> dict[str, Any]:
    """What was seen of a test that was asked for: by its whole name, or all that begin with it."""
    return {test: seen for test, seen in tests.items() if test == asked or test.startswith((f"{asked}[", f"{asked}::"))}


def _catches(asked: str, seen: dict[str, Any], ended: str) -> list[Catch]:
    """What a test said; one with parameters has noticed what any of its cases has."""
    if not seen:
        return [Catch(asked, kind_of(asked, is_property=False), has_caught=False, words=f"was not run: {ended}")]
    noticed = [one for one in seen.values() if _has_noticed(one)]
    shown = (noticed or list(seen.values()))[0]
    words = f"{shown['outcome']} {shown['when']} {shown['error']}: {shown['words']}"
    return [Catch(asked, kind_of(asked, is_property=shown["is_property"]), bool(noticed), words)]


def _has_noticed(seen: dict[str, Any]) -> bool:
    return seen["outcome"] == "failed" and seen["when"] == "call" and seen["error"] not in OWN_MISTAKES


def _asked(orders: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = []
    folder = ""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.mutants.catching"],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            folder = json.loads(process.stdout.readline())["folder"]
            for order in orders:
                process.stdin.write(f"{json.dumps(order)}\n")
                process.stdin.flush()
                said.append(json.loads(process.stdout.readline()))
            process.stdin.close()
        finally:
            if len(said) < len(orders):
                process.kill()
            if folder:
                shutil.rmtree(folder, ignore_errors=True)
    return said


def table(found: Found, *, is_told: bool = False) -> str:
    """Mutant × kind of test, and how many of each kind have noticed it; with ``is_told`` also in which words."""
    lines = [f"{'planted bug':<58}" + "".join(f"{kind:>18}" for kind in KINDS) + "   CPU s"]
    for name, catches in found.catches.items():
        counts = [sum(one.kind == kind and one.has_caught for one in catches) for kind in KINDS]
        what = f"{name:>3}  {by_name(name).what}"
        lines.append(f"{what:<58}" + "".join(f"{count or '':>18}" for count in counts) + f"{found.cpu_s[name]:>8.1f}")
    both = [number for number, kinds in found.by_number().items() if len(kinds) > 1]
    lines.append(f"{len(both)} of {NUMBERS} planted bugs were noticed by two kinds of test or more")
    lines += found.missing(is_all=True)
    lines += [
        f"{name}: {one.test}: {one.words}" for name, catches in found.catches.items() for one in catches if is_told
    ]
    return "\n".join(lines)


def number_of(name: str) -> str:
    """The number in the list of failures, without the letter."""
    return name.rstrip("abc")


assert len({number_of(mutant.name) for mutant in MUTANTS}) == NUMBERS
