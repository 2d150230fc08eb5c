"""What a running hub has in memory from its start: nothing that only few of them ever use."""

from __future__ import annotations

import subprocess
import sys

HEAVY = (
    "alembic",
    "cel_expr_python",
    "cryptography",
    "google.cloud.pubsub",
    "jinja2",
    "jwt",
    "opentelemetry.sdk",
    "pygments",
    "rich",
)


def test_a_start_loads_nothing_that_most_hubs_never_use() -> None:
    loads = "import sys, hub.cli.run, hub.console.people, hub.transports.rabbit.transport"
    script = f"{loads}; print([name for name in {HEAVY!r} if name in sys.modules])"

    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)

    assert told.stdout.strip() == "[]"
