"""``python -m tests.faults.kills``: a run by hand, as long as one likes."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
from pathlib import Path

import structlog

from tests.faults.kills.run import Run
from tests.support.by_hand import end_on_sigterm, say


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=10, help="kill -9 of one of the two hubs; the rest follows of it")
    parser.add_argument("--events", type=int, default=3_000, help="events and pieces of flows")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="a folder for the hubs' homes and logs, which stays")
    options = parser.parse_args()
    # Those who come back after each loss say each time that nobody is there.
    logging.disable()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))

    async def work(folder: Path) -> int:
        end_on_sigterm()
        outcome = await Run(options.seed, options.kills, options.events, say).whole(folder)
        print(outcome, flush=True)
        return 1 if outcome.violations else 0

    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
        return asyncio.run(work(options.keep))
    with tempfile.TemporaryDirectory(prefix="hub-kills-", ignore_cleanup_errors=True) as folder:
        return asyncio.run(work(Path(folder)))


if __name__ == "__main__":
    sys.exit(main())
