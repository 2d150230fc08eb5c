"""Which tests notice which mutant: asks ``catching.py``, and puts what it tells into a table."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from queue import Queue
from subprocess import Popen
from tempfile import TemporaryDirectory
from typing import IO, Any, Final, Self

from tests.mutants.registry import MUTANTS, NUMBERS, by_name
from tests.support.running import PROJECT

UNIT, INTEGRATION, GRID, KILL, SIMULATION = "unit or property", "integration", "crash grid", "real kill", "simulation"
KINDS: Final = (UNIT, INTEGRATION, GRID, KILL, SIMULATION)
GRIDS: Final = ("hunting.py::test_the_hub_dies", "_crashes.py::")
KILLS: Final = ("test_storms.py::", "test_stopped_process.py::", "test_poison.py", "app/test_process.py::")
OWN_MISTAKES: Final = frozenset({"ImportError", "ModuleNotFoundError", "NameError", "SyntaxError"})
"""A test that fails like this has met a mistake in the mutant itself, and has noticed nothing."""
CHEAP_S, DEAR_S = 300, 1_200
"""How long the tests of one mutant may take, and below each of them."""
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
    clean_cpu_s: float = 0.0

    def kinds(self, name: str) -> list[str]:
        """The kinds of test that have caught it."""
        return [kind for kind in KINDS if any(one.kind == kind and one.has_caught for one in self.catches[name])]

    def by_number(self) -> dict[str, set[str]]:
        """The kinds of test that have noticed a defect in one of the ways that it is planted in."""
        kinds: defaultdict[str, set[str]] = defaultdict(set)
        for name in self.catches:
            kinds[number_of(name)].update(self.kinds(name))
        return kinds

    def counts(self) -> dict[str, Any]:
        """How many of the planted bugs which kind of test has noticed, and how many tests pass without a bug."""
        kinds = self.by_number()
        return {
            "mutants": len(kinds),
            "ways_they_were_planted": len(self.catches),
            "caught_by": {
                kind: count for kind in KINDS if (count := sum(kind in of_number for of_number in kinds.values()))
            },
            "caught_by_two_kinds": sum(len(of_number) > 1 for of_number in kinds.values()),
            "tests": len({one.test for catches in self.catches.values() for one in catches}),
            "tests_that_pass_without_a_mutant": self.passed_without,
        }

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
    jobs: int = 1,
    on_told: Callable[[str], None] = lambda line: None,
) -> Found:
    """Plant each of these mutants and run its tests, ``jobs`` side by side; ``on_told`` hears of each when it is known.

    ``is_clean``: then all these tests without a mutant, too. A crash grid tries then what has noticed a mutant.
    """
    found = Found()
    deadline_s, test_s = (DEAR_S, DEAR_TEST_S) if is_all or tests else (CHEAP_S, CHEAP_TEST_S)
    more = {"deadline_s": deadline_s, "log": log}
    wanted = {
        name: list(tests) if tests is not None else [*by_name(name).cheap, *(by_name(name).dear if is_all else ())]
        for name in names
    }
    with Catchers(jobs, on_told) as catchers:
        orders: list[dict[str, Any]] = [
            {"mutant": name, "tests": asked, "test_s": by_name(name).hang_s or test_s, **more}
            for name, asked in wanted.items()
        ]
        for told in catchers.ask(orders):
            name, asked = told["mutant"], wanted[told["mutant"]]
            found.cpu_s[name] = told["cpu_s"]
            may_hang = bool(by_name(name).hang_s)
            found.catches[name] = [
                one
                for test in asked
                for one in _catches(test, _seen_of(told["tests"], test), told["ended"], may_hang=may_hang)
            ]
        if is_clean:
            every = sorted({test for asked in wanted.values() for test in asked})
            files = [list(of_file) for _, of_file in groupby(every, key=lambda test: test.partition("::")[0])]
            orders = [{"mutant": None, "tests": of_file, "test_s": deadline_s, **more} for of_file in files]
            for told, of_file in zip(catchers.ask(orders), files, strict=True):
                found.clean_cpu_s += told["cpu_s"]
                for test in of_file:
                    seen = _seen_of(told["tests"], test)
                    passed = bool(seen) and all(one["outcome"] == "passed" for one in seen.values())
                    found.passed_without += passed
                    found.broken += [] if passed else [f"{test}: {told['ended']} {seen}"]
    return found


class Catchers:
    """Processes of ``catching.py``, each with one order at a time."""

    def __init__(self, jobs: int, on_told: Callable[[str], None]) -> None:
        self._jobs = jobs
        self._on_told = on_told
        self._idle: Queue[tuple[IO[str], IO[str]]] = Queue()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="hub_mutants_", ignore_cleanup_errors=True)))
            command = [sys.executable, "-m", "tests.mutants.catching", str(folder)]
            for _ in range(self._jobs):
                process = stack.enter_context(
                    Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                )
                stack.callback(process.kill)
                assert process.stdin is not None
                assert process.stdout is not None
                self._idle.put((process.stdin, process.stdout))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def ask(self, orders: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """What they tell, in the order in which they were asked."""
        with ThreadPoolExecutor(self._jobs) as pool:
            return list(pool.map(self._ask, orders))

    def _ask(self, order: Mapping[str, Any]) -> dict[str, Any]:
        orders, answers = self._idle.get()
        orders.write(f"{json.dumps(order)}\n")
        orders.flush()
        told: dict[str, Any] = json.loads(answers.readline())
        self._idle.put((orders, answers))
        name = order["mutant"] or "none"
        seen = ", ".join(
            f"{test.rpartition('::')[2]} {one['outcome']} {one['s']:.1f} s" for test, one in told["tests"].items()
        )
        self._on_told(f"{name:>4} {told['cpu_s']:6.1f} s CPU  {seen}")
        return told


def _seen_of(tests: dict[str, Any], asked: str) -> dict[str, Any]:
    """What was seen of a test that was asked for: by its whole name, or all that begin with it."""
    return {test: seen for test, seen in tests.items() if test == asked or test.startswith((f"{asked}[", f"{asked}::"))}


def _catches(asked: str, seen: dict[str, Any], ended: str, *, may_hang: bool) -> list[Catch]:
    """What a test said; one with parameters has noticed what any of its cases has."""
    if not seen:
        return [Catch(asked, kind_of(asked, is_property=False), has_caught=False, words=f"was not run: {ended}")]
    noticed = [one for one in seen.values() if _has_noticed(one, may_hang=may_hang)]
    shown = (noticed or list(seen.values()))[0]
    words = f"{shown['outcome']} {shown['when']} {shown['error']}: {shown['words']}"
    return [Catch(asked, kind_of(asked, is_property=shown["is_property"]), bool(noticed), words)]


def _has_noticed(seen: dict[str, Any], *, may_hang: bool) -> bool:
    """A test that its time-out has ended says nothing, unless the mutant is one that makes everybody wait."""
    if seen["error"] in OWN_MISTAKES or (seen["words"].startswith("Timeout (") and not may_hang):
        return False
    return bool(seen["outcome"] == "failed" and seen["when"] == "call")


def table(found: Found, *, is_told: bool = False) -> str:
    """Mutant × kind of test, and how many of each kind have noticed it; with ``is_told`` also in which words."""
    lines = [f"{'planted bug':<58}" + "".join(f"{kind:>18}" for kind in KINDS) + "   CPU s"]
    for name, catches in found.catches.items():
        counts = [sum(one.kind == kind and one.has_caught for one in catches) for kind in KINDS]
        what = f"{name:>3}  {by_name(name).what}"
        lines.append(f"{what:<58}" + "".join(f"{count or '':>18}" for count in counts) + f"{found.cpu_s[name]:>8.1f}")
    told = found.counts()
    lines.append(f"CPU: {sum(found.cpu_s.values()):.0f} s with a mutant, {found.clean_cpu_s:.0f} s without")
    if found.clean_cpu_s:
        lines.append(f"{found.passed_without} of {told['tests']} tests pass without a mutant")
    caught_by = ", ".join(f"{kind} {count}" for kind, count in told["caught_by"].items())
    lines.append(
        f"mutants caught by kind: {caught_by}; by two kinds or more {told['caught_by_two_kinds']} of {told['mutants']}"
    )
    lines += found.missing(is_all=True)
    lines += [
        f"{name}: {one.test}: {one.words}" for name, catches in found.catches.items() for one in catches if is_told
    ]
    return "\n".join(lines)


def number_of(name: str) -> str:
    """The number in the list of failures, without the letter."""
    return name.rstrip("abc")


assert len({number_of(mutant.name) for mutant in MUTANTS}) == NUMBERS
