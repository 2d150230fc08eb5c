"""The points of a crash grid at which a mutant was noticed: the same are tried without one, where all must be well."""

from __future__ import annotations

import json
import os
from dataclasses import astuple
from pathlib import Path

from tests.faults.seams import Point

TELLING, TOLD = "HUB_TEST_POINTS_TELL", "HUB_TEST_POINTS_TOLD"
"""The folder in which a point is noted, and from which the noted ones are read."""


def tell(scenario: str, point: Point | None) -> None:
    """Note this point, where anybody wants to know; None for what is noticed without any crash."""
    if folder := os.environ.get(TELLING):
        with _file(folder, scenario).open("a") as file:
            # In one piece, whoever else notes something.
            file.write(f"{json.dumps(astuple(point))}\n" if point is not None else "")


def told(scenario: str) -> list[Point] | None:
    """Each point that was noted, once; None where nobody has noted any."""
    folder = os.environ.get(TOLD)
    if folder is None or not _file(folder, scenario).exists():
        return None
    return sorted({Point(*json.loads(line)) for line in _file(folder, scenario).read_text().splitlines()})


def _file(folder: str, scenario: str) -> Path:
    return Path(folder) / f"{scenario}.points"
