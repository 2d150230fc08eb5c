"""What the trials share, and the table of their counts at the end of a run (``make faults`` prints it too)."""

from __future__ import annotations

import gc
import os
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from random import Random
from typing import TypeAlias

import pytest
import structlog
from _pytest.terminal import TerminalReporter

from tests.faults.scenarios import SCENARIOS
from tests.faults.stage import Stage
from tests.support.counts import keep, tell_failure
from tests.support.databases import DIALECTS, Databases

COUNTS = ("places", "points", "raised", "killed", "passed by", "cuts", "stops", "restarts", "events", "violations")
Telling: TypeAlias = Callable[[str, str, Counter[str]], None]
"""Takes what was tried, on which database, and counts by the names in ``COUNTS``."""
PROPERTY = "fault counts"
Figures: TypeAlias = Callable[[str], None]
FIGURE = "fault figure"
IS_EVERYTHING = os.environ.get("HUB_FAULTS") == "all"
"""What ``is_everything`` answers, for what is fixed when tests are collected."""
POINTS = os.environ.get("HUB_TEST_POINTS", "some")
"""``every``: the long run of the faults tries each point; else each place at one of the times that it is reached."""


@pytest.fixture(scope="session")
def is_everything() -> bool:
    """Whether every point is killed for real (``make faults``), or a sample of them (``make test``)."""
    mode = os.environ.get("HUB_FAULTS", "sample")
    assert mode in ("sample", "all"), f"HUB_FAULTS: expected sample or all, found {mode}"
    return mode == "all"


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> Random:
    """Draws the sample, by the seed of the run."""
    return Random(str(request.config.getoption("randomly_seed", 1)))


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=list(SCENARIOS))
async def stage(
    request: pytest.FixtureRequest, dialect: str, databases: Databases, tmp_path: Path
) -> AsyncIterator[Stage]:
    """One scenario on one kind of database."""
    made = Stage(SCENARIOS[request.param], dialect, databases, tmp_path)
    await made.prepare()
    yield made
    await made.close()


@pytest.fixture(autouse=True)
def _silence() -> Iterator[None]:
    """A dying hub logs much that nobody needs."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """What was cut off is collected here, and not in a test that has nothing to do with it."""
    yield
    gc.collect()


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Telling:
    """Tells counts for the table."""

    def told(name: str, database: str, counts: Counter[str]) -> None:
        record_property(PROPERTY, [name, database, dict(counts)])

    return told


@pytest.fixture
def figures(record_property: Callable[[str, object], None]) -> Figures:
    """Tells a figure in words, printed below the table."""
    return lambda words: record_property(FIGURE, words)


@pytest.fixture
def tally(tell: Telling, stage: Stage) -> Iterator[Counter[str]]:
    """Counts of one scenario."""
    counts: Counter[str] = Counter()
    yield counts
    tell(stage.scenario.name, stage.dialect, counts)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        tell_failure(report.nodeid, report.longreprtext)


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """How much was tried, and what was found."""
    table: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    rows: list[tuple[str, str, str, dict[str, int]]] = []
    words: list[str] = []
    # The counts come with the end of each test's fixtures, which has no heading of its own.
    for report in chain.from_iterable(terminalreporter.stats.values()):
        for name, value in getattr(report, "user_properties", ()):
            if name == PROPERTY and report.when == "teardown":
                tried, database, counts = value
                table[tried, database].update(counts)
                rows.append((report.nodeid, tried, database, counts))
            elif name == FIGURE and report.when == "teardown":
                words.append(str(value))
    if not table:
        return
    if not hasattr(terminalreporter.config, "workerinput"):
        # The one process that has heard of all tests.
        keep("faults", {"rows": rows, "figures": words})
    terminalreporter.section("faults")
    terminalreporter.write_line(_line(("tried", "database"), COUNTS))
    for (tried, database), counts in sorted(table.items()):
        terminalreporter.write_line(_line((tried, database), [counts[name] or "" for name in COUNTS]))
    total: Counter[str] = sum(table.values(), Counter())
    terminalreporter.write_line(_line(("all", ""), [total[name] for name in COUNTS]))
    for figure in words:
        terminalreporter.write_line(figure)


def _line(names: Sequence[str], figures: Sequence[object]) -> str:
    return "".join(f"{name:<12}" for name in names) + "".join(f"{figure!s:>11}" for figure in figures)
