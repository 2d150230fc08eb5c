"""What the trials share, and the table of their counts at the end of a run (``make faults`` prints it too)."""

from __future__ import annotations

import gc
import os
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import chain
from pathlib import Path
from random import Random

import pytest
import structlog
from _pytest.terminal import TerminalReporter

from tests.faults.scenarios import SCENARIOS
from tests.faults.stage import Stage
from tests.support.databases import DIALECTS, Databases

COUNTS = ("points", "raised", "killed", "passed by", "violations")
GC_THRESHOLD = 50_000


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


@pytest.fixture(scope="session", autouse=True)
def _light_garbage() -> Iterator[None]:
    """What was imported stays: the collector need not look at it after each of a thousand lives."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


@pytest.fixture(scope="session", autouse=True)
def _silence() -> Iterator[None]:
    """A dying hub logs much that nobody needs."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()


@pytest.fixture
def tally(record_property: Callable[[str, object], None], stage: Stage) -> Iterator[Counter[str]]:
    """Counts for the table, by the names in ``COUNTS``."""
    counts: Counter[str] = Counter()
    yield counts
    record_property("crash points", [stage.scenario.name, stage.dialect, dict(counts)])


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """How many points there are, how many were tried, and what was found."""
    table: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    # The counts come with the end of each test's fixtures, which has no heading of its own.
    for report in chain.from_iterable(terminalreporter.stats.values()):
        for name, value in getattr(report, "user_properties", ()):
            if name == "crash points" and report.when == "teardown":
                scenario, dialect, counts = value
                table[scenario, dialect].update(counts)
    if not table:
        return
    terminalreporter.section("crash points")
    terminalreporter.write_line(f"{'scenario':<12}{'database':<12}" + "".join(f"{name:>12}" for name in COUNTS))
    for (scenario, dialect), counts in sorted(table.items()):
        figures = "".join(f"{counts[name]:>12}" for name in COUNTS)
        terminalreporter.write_line(f"{scenario:<12}{dialect:<12}{figures}")
    total: Counter[str] = sum(table.values(), Counter())
    terminalreporter.write_line(f"{'all':<24}" + "".join(f"{total[name]:>12}" for name in COUNTS))
