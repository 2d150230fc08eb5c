"""How many seeds the tests play, and playing them in a process of their own.

``make test`` plays some, HUB_TEST_LONG=1 one on PostgreSQL beside them, ``make faults`` 1,000 and some on PostgreSQL,
``make soak`` 10,000.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Final

from tests.support.counts import keep
from tests.support.running import PROJECT

IS_EVERYTHING: Final = os.environ.get("HUB_FAULTS") == "all"
IS_LONG: Final = os.environ.get("HUB_TEST_LONG", "0") != "0"
SEEDS_OF_ALL: Final = 1_000
SEEDS: Final = SEEDS_OF_ALL if IS_EVERYTHING else 50
SERVED: Final = 20 if IS_EVERYTHING else 1 if IS_LONG else 0
"""Those that are played on PostgreSQL, too."""
PARTS: Final = 4 if IS_EVERYTHING else 2
"""Two files have half of them each: what shares tests out gives a file to one process."""
ODD, EVEN = range(1, PARTS + 1, 2), range(2, PARTS + 1, 2)
RUNS_S_MAX: Final = 36_000 if IS_EVERYTHING else 3_000
EVENTS_MIN, KEYS_MIN = 200, 20


TOTAL: Final = re.compile(
    r"simulation: (?P<seeds>\d+) seeds, (?P<events>\d+) events, (?P<lives>\d+) lives of the hub, \d+ faults of"
    r" providers, (?P<failed>\d+) failed"
)


def played(*arguments: str, name: str = "") -> str:
    """What the command says. It runs apart: there sets of texts have the same order each time.

    With a ``name`` its seeds are counted under that one.
    """
    command = [sys.executable, "-m", "tests.simulation", *arguments]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=RUNS_S_MAX, check=False)
    if name and (total := TOTAL.search(done.stdout)):
        counts = {what: int(number) for what, number in total.groupdict().items()}
        # Each life but the first began because the one before it was killed.
        kills = counts.pop("lives") - counts["seeds"]
        keep("simulation", {"played": arguments, "counts": {name: counts.pop("seeds"), **counts, "kills": kills}})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def part_holds(part: int) -> None:
    """Play this part of the seeds. AssertionError where one of them breaks a promise or has little to tell."""
    said = played("--seeds", f"1-{SEEDS}", "--share", f"{part}/{PARTS}", "--verbose", name="seeds")

    sizes = [(int(events), int(keys)) for events, keys in re.findall(r"seed \d+: (\d+) events, (\d+) keys", said)]
    assert len(sizes) == SEEDS // PARTS
    assert min(sizes) >= (EVENTS_MIN, 0)
    assert min(keys for _, keys in sizes) >= KEYS_MIN
