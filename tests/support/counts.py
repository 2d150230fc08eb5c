"""What a part of ``make faults`` has done, written down for the summary at its end (``tests/faults/summary.py``)."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

VARIABLE: Final = "HUB_TEST_COUNTS"
"""The folder of the part that is running; without it nothing is written."""


def keep(name: str, counts: Mapping[str, Any]) -> None:
    """Write counts into a file of their own: several processes, and a part that is run again, write side by side.

    The names of the files are in order of time.
    """
    if folder := os.environ.get(VARIABLE):
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / f"{name}-{time.time_ns()}-{uuid4().hex[:8]}.json").write_text(json.dumps(counts))


def tell_failure(test: str, text: str) -> None:
    """Write down what has failed as soon as it has: a part may go on for half an hour, or be ended from outside."""
    if folder := os.environ.get(VARIABLE):
        Path(folder).mkdir(parents=True, exist_ok=True)
        with (Path(folder) / "failures.txt").open("a") as file:
            file.write(f"== {test}\n{text}\n")
