"""``python -m tests.soak``: feed a hub at the speed of the machine, and see that nothing of it grows (``make soak``).

Exits with 1 when anything grows beyond its bound, or is not accounted for. HUB_SOAK_EVENTS says how many events.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path

import structlog
from rich.console import Console
from rich.table import Table

from tests.soak.run import Outcome, Plan, Soak
from tests.support.by_hand import end_on_sigterm, say

EVENTS = 200_000
WHERE = ("embedded", "servers")
WIDTH = 120


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--events", type=int, default=int(os.environ.get("HUB_SOAK_EVENTS") or EVENTS))
    parser.add_argument("--only", choices=WHERE, help="one of the two places; default: one after the other")
    parser.add_argument("--every", type=float, default=3.0, help="seconds between two looks")
    parser.add_argument("--age", type=float, default=15.0, help="seconds after which a finished event is pruned")
    parser.add_argument("--no-prune", action="store_true", help="prune nothing: then the run must fail")
    parser.add_argument("--json", type=Path, help="write everything that was measured into this file as well")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    outcomes = []
    for where in [options.only] if options.only else WHERE:
        plan = Plan(
            events=options.events,
            embedded=where == "embedded",
            every_s=options.every,
            age_s=options.age,
            prunes=not options.no_prune,
            seed=options.seed,
        )
        with tempfile.TemporaryDirectory(prefix="hub-soak-", ignore_cleanup_errors=True) as folder:
            outcomes.append(asyncio.run(soaked(Soak(plan, Path(folder), say))))
        show(outcomes[-1])
    if options.json is not None:
        options.json.write_text(json.dumps([one.document() for one in outcomes], indent=1) + "\n")
    told = [{key: value for key, value in one.document().items() if key != "samples"} for one in outcomes]
    print(json.dumps(told))
    return 1 if any(one.violations for one in outcomes) else 0


async def soaked(soak: Soak) -> Outcome:
    """The run."""
    end_on_sigterm()
    return await soak.whole()


def show(outcome: Outcome) -> None:
    """The table of one run, and what is wrong."""
    table = Table(
        "", "first", "last", "gained in the second half", "at most", title=outcome.where, title_justify="left"
    )
    for line in outcome.lines:
        row = (f"{number:.1f}" for number in (line.first, line.last, line.gained, line.allowed))
        table.add_row(f"{'' if line.holds else 'GROWS: '}{line.name}", *row)
    Console(width=WIDTH).print(table)
    rate = outcome.events / max(outcome.seconds, 1.0)
    print(
        f"{outcome.events} events in {outcome.seconds:.0f} s ({rate:.0f}/s), {outcome.archived} archived,"
        f" {outcome.checks} checks, {len(outcome.violations)} violations"
    )
    for violation in outcome.violations:
        print(f"VIOLATION {violation}")


if __name__ == "__main__":
    sys.exit(main())
