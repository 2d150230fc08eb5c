"""Fixtures for everybody: a fresh database of either kind with all tables, a store on it, a clock."""

from __future__ import annotations

import asyncio
import faulthandler
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis

from hub.store.store import Store
from tests.support.clock import SettableClock
from tests.support.databases import DIALECTS, Databases

CONNECTIONS = 12
ONE_DATABASE_WILL_DO = frozenset(
    {
        "test_api_fuzz",
        "test_bad_handlers",
        "test_paypal_lives",
        "test_sepay_authentication",
        "test_sepay_callback",
        "test_sepay_errors",
    }
)
"""Modules about what comes in over HTTP, or about handlers: on PostgreSQL they run with the long ones."""
HAS_CRASHED = pytest.StashKey[bool]()

# How long an example takes is the machine's affair.
hypothesis.register_profile("hub", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis.load_profile("hub")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what repeats at length what other tests show, unless it is asked for."""
    if os.environ.get("HUB_TEST_LONG", "0") == "0":
        left_out = pytest.mark.skip(reason="long; HUB_TEST_LONG=1 runs it")
        for item in items:
            repeats = item.path.stem in ONE_DATABASE_WILL_DO and "[postgresql" in item.name
            if repeats or item.get_closest_marker("long") is not None:
                item.add_marker(left_out)


@pytest.hookimpl(trylast=True)
def pytest_exception_interact(node: pytest.Item | pytest.Collector) -> None:
    """A test that failed may hang in its clean-up: end its process then too, which pytest has just given up."""
    timeout_s = float(node.config.getini("faulthandler_timeout") or 0)
    if isinstance(node, pytest.Item) and timeout_s > 0:
        stderr = node.config.stash[fault_handler_stderr_fd_key]
        faulthandler.dump_traceback_later(timeout_s, file=stderr, exit=True)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """A test process has ended too early: nobody knows which tests have not been run."""
    node.config.stash[HAS_CRASHED] = node.config.stash.get(HAS_CRASHED, False) or bool(error)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.stash.get(HAS_CRASHED, False):
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    """Makes databases; what is left at the end goes with it."""
    made = Databases(tmp_path_factory.mktemp("databases"))
    yield made
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
