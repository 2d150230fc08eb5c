"""What a running hub has in memory from its start: nothing that only few of them ever use."""

from __future__ import annotations

import subprocess
import sys

HEAVY = (
    "aiohttp.client",
    "alembic",
    "cel_expr_python",
    "cryptography",
    "google.cloud.pubsub",
    "jinja2",
    "jwt",
    "opentelemetry.sdk",
    "pygments",
    "rich",
    "sqlalchemy.orm",
)


def test_a_start_loads_nothing_that_most_hubs_never_use() -> None:
    loads = "import sys, hub.cli.run, hub.console.people, hub.transports.rabbit.transport"
    script = f"{loads}; print([name for name in {HEAVY!r} if name in sys.modules])"

    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)

    assert told.stdout.strip() == "[]"


def test_a_package_is_run_when_something_is_asked_of_it() -> None:
    script = """
import sys, hub
from sqlalchemy.ext.asyncio import AsyncConnection, engine
import aiohttp
assert AsyncConnection is engine.AsyncConnection
assert not {"aiohttp.client", "sqlalchemy.orm"} & set(sys.modules)
assert aiohttp.__version__.count(".") == 2
assert not hasattr(aiohttp, "nothing_of_the_kind")
from sqlalchemy.ext.asyncio import AsyncSession, session
assert AsyncSession is session.AsyncSession
assert aiohttp.ClientSession is aiohttp.client.ClientSession
"""

    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
