"""``make bench``: the hub beside the usual ways and the limits of the machine, as ratios within one run.

    python -m benchmarks [--quick] [--only SCENARIO …] [--save]

Needs PostgreSQL (HUB_TEST_POSTGRES_URL) and RabbitMQ (HUB_TEST_RABBITMQ_URL), or finds them at their usual places.
A whole run takes about 25 minutes; nothing else should use the machine meanwhile. Begin reading with ``scenarios.py``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import databases
from benchmarks.plan import QUICK, WHOLE
from benchmarks.report import document, show
from benchmarks.scenarios import SCENARIOS
from benchmarks.turns import Bench, Results
from hub.cli.logs import set_up_logs

RESULTS = Path(__file__).parent / "results"


async def measure(options: argparse.Namespace) -> int:
    """Run what was asked for, show it, keep it. 1 when a run was wrong: such a run has no figure."""
    set_up_logs(level="warning", as_json=None)
    task = asyncio.current_task()
    assert task is not None
    # Told to stop, it still removes its databases and queues, and ends what it has started.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    start = time.monotonic()
    plan, results = QUICK if options.quick else WHOLE, Results()

    def say(line: str) -> None:
        print(f"{time.monotonic() - start:6.0f} s  {line}", file=sys.stderr, flush=True)

    bench = Bench(plan=plan, results=results, say=say)
    for name in options.only or SCENARIOS:
        await SCENARIOS[name](bench)
    show(results, is_quick=options.quick)
    if options.save:
        kept = document(results, plan, is_quick=options.quick, database=await databases.version())
        print(f"saved to {keep(kept)}")
    return 1 if results.failures else 0


def keep(kept: dict[str, object]) -> Path:
    """Write the document under a name that sorts by time."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{datetime.now(UTC):%Y-%m-%dT%H%M}{'-quick' if kept['is_quick'] else ''}.json"
    path.write_text(json.dumps(kept, indent=1) + "\n")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few events, once: does everything work")
    parser.add_argument("--only", action="append", choices=tuple(SCENARIOS), help="this scenario; may be repeated")
    parser.add_argument("--save", action="store_true", help="keep the figures under benchmarks/results/")
    try:
        code = asyncio.run(measure(parser.parse_args()))
    except (asyncio.CancelledError, KeyboardInterrupt):
        sys.exit("stopped before the end: no figures")
    sys.exit(code)


if __name__ == "__main__":
    main()
