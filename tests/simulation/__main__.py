"""``python -m tests.simulation --seed N``: play one run, or ``--seeds FIRST-LAST``; what fails is made smaller.

Exit code 1 where a run has failed.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import subprocess
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import process_time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.run import Stage

HASHES = "PYTHONHASHSEED"


def main(arguments: Sequence[str]) -> int:
    """Play, print, answer with the exit code."""
    given = _read(arguments)
    if given.jobs > 1:
        return _shared(given)
    part, _, parts = given.share.partition("/")
    total = Total(_seeds(given)[int(part) - 1 :: int(parts)])

    from tests.simulation.run import Stage  # noqa: PLC0415 - after the hashes are fixed

    # Connections under a hub that dies complain.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL + 1)
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)
    stage = Stage("postgresql" if given.postgresql else "sqlite")
    try:
        for seed in total.seeds:
            _play(stage, seed, total, given)
    finally:
        stage.close()
    print(total, flush=True)
    return 1 if total.failed else 0


@dataclass
class Total:
    """What all runs have come to."""

    seeds: Sequence[int]
    events: int = 0
    lives: int = 0
    faults: int = 0
    failed: list[int] = field(default_factory=list)

    def __str__(self) -> str:
        words = (
            f"simulation: {len(self.seeds)} seeds, {self.events} events, {self.lives} lives of the hub, {self.faults}"
        )
        named = f": {' '.join(map(str, self.failed))}" if self.failed else ""
        return f"{words} faults of providers, {len(self.failed)} failed{named}"


def _play(stage: Stage, seed: int, total: Total, given: argparse.Namespace) -> None:
    from tests.simulation.run import play  # noqa: PLC0415 - after the hashes are fixed
    from tests.simulation.shrink import shrunk  # noqa: PLC0415 - after the hashes are fixed

    began = process_time()
    try:
        result = play(stage, seed)
    except Exception:
        print(f"seed {seed}: the run itself broke\n{traceback.format_exc()}", flush=True)
        total.failed.append(seed)
        return
    total.events, total.lives = total.events + result.events, total.lives + result.lives
    total.faults += result.faults
    if given.verbose or result.violations or given.seed is not None:
        print(f"{result}\n    {process_time() - began:.2f} s of CPU", flush=True)
    if not result.violations:
        return
    total.failed.append(seed)
    where = " --postgresql" if given.postgresql else ""
    print(f"    again: python -m tests.simulation --seed {seed}{where}", flush=True)
    if given.seed is not None and not given.no_shrink and not given.postgresql:
        small = shrunk(stage, result)
        print(f"    the same with {len(small.deeds)} of {len(result.deeds)} deeds: {small.violations[0]}")
        print("".join(f"        {deed}\n" for deed in small.deeds), flush=True)


def _read(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="one run, told at length and made smaller where it fails")
    parser.add_argument("--seeds", help="FIRST-LAST, both included")
    parser.add_argument("--share", default="1/1", help="of the seeds: this many-th of so many parts")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--postgresql", action="store_true", help="on a server; its answers take turns of their own")
    parser.add_argument("--no-shrink", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    return parser.parse_args(arguments)


def _seeds(given: argparse.Namespace) -> list[int]:
    first, _, last = (given.seeds or f"{given.seed or 0}").partition("-")
    return list(range(int(first), int(last or first) + 1))


def _shared(given: argparse.Namespace) -> int:
    """Several processes, each with its part of the seeds."""
    own = ["--seeds", given.seeds, "--no-shrink"]
    own += ["--postgresql"] * given.postgresql + ["--verbose"] * given.verbose
    command = [sys.executable, "-m", "tests.simulation", *own]
    jobs = [subprocess.Popen([*command, "--share", f"{part}/{given.jobs}"]) for part in range(1, given.jobs + 1)]
    return max(job.wait() for job in jobs)


if __name__ == "__main__":
    if os.environ.get(HASHES) != "0":
        # Sets of texts have another order in each process otherwise.
        again = [sys.executable, "-m", "tests.simulation", *sys.argv[1:]]
        os.execve(sys.executable, again, {**os.environ, HASHES: "0"})
    sys.exit(main(sys.argv[1:]))
