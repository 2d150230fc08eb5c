"""``make bench``: the whole path, webhook verified to ledger posted to message sent, on SQLite and PostgreSQL.

    python -m benchmarks [--events 20000] [--repeats 3] [--quick] [--only sqlite|postgresql] [--save]

The databases take turns, each repeat with its own yardstick beside it (raw commits of the same machine at the same
time); the table shows medians. ``--save`` writes the JSON under benchmarks/results/.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.measure import CONNECTIONS, Figure, measure_postgres, measure_sqlite

SERVER = "postgresql://root@127.0.0.1:5432/test"
PORT = 18_480
RESULTS = Path(__file__).parent / "results"


async def measure(options: argparse.Namespace) -> list[Figure]:
    """All runs, the databases taking turns."""
    server = os.environ.get("HUB_TEST_POSTGRES_URL", SERVER)
    figures: list[Figure] = []
    for repeat in range(options.repeats):
        if options.only in (None, "sqlite"):
            figures.append(await measure_sqlite(options.events, PORT + 2 * repeat, options.yardstick_s))
        if options.only in (None, "postgresql"):
            figures.append(await measure_postgres(options.events, PORT + 2 * repeat + 1, options.yardstick_s, server))
    return figures


def table_of(figures: Sequence[Figure]) -> Table:
    """Medians by database, with the spread of the rate."""
    table = Table(title="Webhook verified → ledger posted → message sent (medians)", title_justify="left", box=None)
    columns = (
        "database",
        "events/s",
        "spread",
        "acks/s",
        "ack p50 ms",
        "p99 ms",
        "hub CPU s/1,000",
        "database CPU s/1,000",
        "peak MB",
        "raw commits/s",
        "of 100 rows",
        "events per raw commit",
    )
    for column in columns:
        table.add_column(column, justify="left" if column == "database" else "right")
    for database in dict.fromkeys(figure.database for figure in figures):
        own = [figure for figure in figures if figure.database == database]
        rates = [figure.done_per_s for figure in own]
        table.add_row(
            database,
            f"{statistics.median(rates):,.0f}",
            f"{max(rates) / min(rates):.2f}",
            f"{_median(own, 'accepted_per_s'):,.0f}",
            f"{_median(own, 'ack_p50_ms'):.1f}",
            f"{_median(own, 'ack_p99_ms'):.1f}",
            f"{_median(own, 'hub_cpu_s'):.3f}",
            f"{_median(own, 'database_cpu_s'):.3f}",
            f"{_median(own, 'peak_mb'):.0f}",
            f"{_median(own, 'single_commits_per_s'):,.0f}",
            f"{_median(own, 'hundred_commits_per_s'):,.0f}",
            f"{_median(own, 'per_commit'):.2f}",
        )
    return table


def _median(figures: Sequence[Figure], name: str) -> float:
    return statistics.median(float(getattr(figure, name)) for figure in figures)


def document(figures: Sequence[Figure]) -> dict[str, object]:
    """The figures with what they depend on."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "machine": {"cores": os.cpu_count(), "platform": platform.platform(), "python": platform.python_version()},
        "connections": CONNECTIONS,
        "figures": [figure.as_json() for figure in figures],
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--yardstick-s", type=float, default=2.0)
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    parser.add_argument("--quick", action="store_true", help="one repeat of 1,000 events, to see that it works")
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.events, options.repeats, options.yardstick_s = 1_000, 1, 0.3
    figures = asyncio.run(measure(options))
    Console(width=200).print(table_of(figures))
    if options.save:
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{datetime.now(UTC):%Y-%m-%d}.json"
        path.write_text(json.dumps(document(figures), indent=1) + "\n")
        print(f"saved to {path}")


if __name__ == "__main__":
    main()
