"""Fixtures for everybody: a fresh database of either kind with all tables, a store on it, a clock."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Generator, Iterator
from itertools import chain
from typing import Any
from zlib import crc32

import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key
from _pytest.terminal import TerminalReporter
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis

from hub.store.store import Store
from tests.support.clock import SettableClock
from tests.support.compiled import shared_by_all_engines
from tests.support.databases import DIALECTS, Databases
from tests.support.loggers import as_before
from tests.support.secrecy import leaks

CONNECTIONS = 12
ONE_DATABASE_WILL_DO = frozenset(
    {
        "test_api_fuzz",
        "test_bad_handlers",
        "test_paypal_lives",
        "test_pruning_by_itself",
        "test_pruning_mishaps",
        "test_sepay_authentication",
        "test_sepay_callback",
        "test_sepay_errors",
    }
)
"""Modules about what comes in over HTTP, about handlers or a storage: on PostgreSQL they run with the long ones."""
ONE_DATABASE_EACH = (
    "tests/scenarios/",
    *(f"tests/unit/{capability}/" for capability in ("loyalty", "paypal", "paypay", "sepay")),
    *(
        f"tests/integration/{part}/"
        for part in ("app", "cli", "console", "explain", "ingress", "operate", "paypay", "prove")
    ),
    "tests/integration/seal/test_sealer",
)
"""What leans on the engine, whose own tests take both databases: each test takes one, which its name decides."""
_OTHER = dict(zip(DIALECTS, reversed(DIALECTS), strict=True))
LONGEST = frozenset(
    {
        "test_console",
        "test_crashes",
        "test_extending_page",
        "test_flow_crashes",
        "test_other_seeds",
        "test_paypay_exchanges",
        "test_planted",
        "test_rabbit_crashes",
        "test_readme_tour",
        "test_sepay_load",
        "test_simulation",
        "test_stopped_process",
        "test_storms",
    }
)
"""Files that take half a minute and more: the last one to begin decides when all have ended."""
HAS_CRASHED = pytest.StashKey[bool]()
DATABASES = pytest.StashKey[Databases]()
GC_THRESHOLD = 50_000
FILES_SHOWN = 15
"""Files that took longest, told at the end of a run of more than these: whoever makes one grow sees it."""

# How long an example takes is the machine's affair.
hypothesis.register_profile("hub", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis.load_profile("hub")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what repeats at length what other tests show, unless it is asked for; begin with the longest files."""
    if os.environ.get("HUB_TEST_LONG", "0") == "0":
        left_out = pytest.mark.skip(reason="long; HUB_TEST_LONG=1 runs it")
        names = {item.nodeid for item in items}
        for item in items:
            if item.get_closest_marker("long") is not None or _repeats(item, names):
                item.add_marker(left_out)
    items.sort(key=lambda item: item.path.stem not in LONGEST)


def _repeats(item: pytest.Item, names: Collection[str]) -> bool:
    """Whether the same test on the other database is enough, and that one runs: some are for one database only."""
    if not isinstance(item, pytest.Function) or not hasattr(item, "callspec"):
        return False
    dialect = next((given for given in item.callspec.params.values() if given in DIALECTS), None)
    if dialect is not None and item.nodeid.replace(dialect, _OTHER[dialect]) not in names:
        return False
    if item.path.stem in ONE_DATABASE_WILL_DO:
        return dialect == "postgresql"
    if dialect is None or not item.nodeid.startswith(ONE_DATABASE_EACH):
        return False
    name = item.nodeid.replace(dialect, "")
    return dialect != DIALECTS[crc32(name.encode()) % len(DIALECTS)]


@pytest.hookimpl(trylast=True)
def pytest_exception_interact(node: pytest.Item | pytest.Collector) -> None:
    """A test that failed may hang in its clean-up: end its process then too, which pytest has just given up."""
    timeout_s = float(node.config.getini("faulthandler_timeout") or 0)
    if isinstance(node, pytest.Item) and timeout_s > 0:
        stderr = node.config.stash[fault_handler_stderr_fd_key]
        faulthandler.dump_traceback_later(timeout_s, file=stderr, exit=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Whatever a test is about: nothing that it prints or logs may hold a secret."""
    report = yield
    # Each report has all sections so far: those of the test itself are looked through with the test.
    if report.passed and (found := leaks(text for title, text in report.sections if title.endswith(report.when))):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} printed a secret:\n" + "\n".join(found)
    _tell_the_databases(item, report)
    return report


def _tell_the_databases(item: pytest.Item, report: pytest.TestReport) -> None:
    made = item.config.stash.get(DATABASES, None)
    if made is not None and report.failed:
        made.a_test_has_failed()
    elif made is not None and report.when == "setup":
        made.a_test_begins()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """A test process has ended too early: nobody knows which tests have not been run."""
    node.config.stash[HAS_CRASHED] = node.config.stash.get(HAS_CRASHED, False) or bool(error)


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Where the time went, by file: what setting up and clearing away took is part of it."""
    spent_s: defaultdict[str, float] = defaultdict(float)
    for report in chain.from_iterable(terminalreporter.stats.values()):
        if isinstance(report, pytest.TestReport):
            spent_s[report.nodeid.partition("::")[0]] += report.duration
    if len(spent_s) <= FILES_SHOWN:
        return
    terminalreporter.section(f"the {FILES_SHOWN} files that took longest, of {len(spent_s)}")
    for file in sorted(spent_s, key=spent_s.__getitem__, reverse=True)[:FILES_SHOWN]:
        terminalreporter.write_line(f"{spent_s[file]:7.1f} s  {file}")
    terminalreporter.write_line(f"{sum(spent_s.values()):7.1f} s  all, by the clocks of their processes")


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.stash.get(HAS_CRASHED, False):
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR


@pytest.fixture(scope="session", autouse=True)
def _light_garbage() -> Iterator[None]:
    """What was imported stays: the collector need not look at it again and again, a thousand tests long."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


@pytest.fixture(scope="session", autouse=True)
def _compiled_once() -> Iterator[None]:
    with shared_by_all_engines():
        yield


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    with as_before():
        yield


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Databases]:
    """Makes databases; what is left at the end goes with it."""
    made = pytestconfig.stash[DATABASES] = Databases(tmp_path_factory.mktemp("databases"))
    yield made
    del pytestconfig.stash[DATABASES]
    asyncio.run(made.close())


@pytest.fixture(params=DIALECTS)
async def database_url(request: pytest.FixtureRequest, databases: Databases) -> AsyncIterator[str]:
    """The address of a fresh database with all tables, once on SQLite and once on PostgreSQL."""
    address = await databases.fresh(request.param)
    yield address
    await databases.drop(address)


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    """The database, opened."""
    opened = Store.open(database_url, pool_size=CONNECTIONS)
    yield opened
    await opened.close()


@pytest.fixture
def clock() -> SettableClock:
    """Stands at 2026-11-21 09:30 UTC until it is moved."""
    return SettableClock()
