"""The one summary of ``make faults``: ``python -m tests.faults.summary FOLDER``.

Each part has written what it did into a folder of its own there (``tests/support/counts.py``). A part, a story or a
storm that has written nothing, or has done nothing of what it is for, is a failure and not a zero. A test that has
failed is run again, and then what its last run did is counted, and what any of its runs has broken. Exit code 1 where
anything is missing or a promise was broken. The same figures go into ``summary.json`` in that folder.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.faults.places import STORIES
from tests.mutants.registry import NUMBERS
from tests.simulation.seeds import SEEDS_OF_ALL

STORMS: Final = {
    "cuts": "cuts",
    "kills": "killed",
    "rolling": "restarts",
    "stops": "stops",
    "restarts": "restarts",
    "exchanges": "killed",
    "all systems": "killed",
}
"""By name, and of what each must have done something."""
BROKEN: Final = ("violations", "failed")
"""Counts of broken promises, of runs and of seeds."""


@dataclass
class Summary:
    """``figures`` in the order in which they are told; ``missing`` is what nobody did or told."""

    figures: dict[str, Any] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return not self.missing and self.figures["violations"] == 0

    def __str__(self) -> str:
        lines = [f"{name:<28}{_told(value):>12}" for name, value in self.figures.items()]
        return "\n".join([*lines, *(f"MISSING {one}" for one in self.missing)])


def _told(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def summary_of(folder: Path) -> Summary:
    """Add up what all parts have written."""
    grids, storms = _rows(folder / "crash-points"), _rows(folder / "storms")
    played = ((tuple(one["played"]), one["counts"]) for one in _files(folder / "simulation"))
    seeds: Counter[str] = sum(_last_of(played).values(), Counter())
    *_, mutants = ({}, *_files(folder / "mutants"))
    total: Counter[str] = sum([*grids.values(), *storms.values()], Counter())
    points: Counter[str] = sum(grids.values(), Counter())
    found = Summary(
        {
            "places": points["places"],
            "points": points["points"],
            "points raised at": points["raised"],
            "points killed at": points["killed"],
            "points passed by": points["passed by"],
            "seeds": seeds["seeds"] + seeds["seeds on a server"],
            "seeds on a server": seeds["seeds on a server"],
            "kills": total["killed"],
            "kills in simulation": seeds["kills"],
            "stops": total["stops"],
            "cuts": total["cuts"],
            "restarts": total["restarts"],
            "mutants": mutants.get("mutants", 0),
            **{f"mutants caught by {kind}": number for kind, number in mutants.get("caught_by", {}).items()},
            "mutants caught by two kinds": mutants.get("caught_by_two_kinds", 0),
            "events": total["events"] + seeds["events"],
            "violations": total["violations"] + seeds["failed"],
        }
    )
    found.missing += [
        f"{story}: no point was {way}" for story in STORIES for way in ("raised", "killed") if not grids[story][way]
    ]
    found.missing += [f"{storm}: no {what}" for storm, what in STORMS.items() if not storms[storm][what]]
    if seeds["seeds"] < SEEDS_OF_ALL:
        found.missing.append(f"simulation: {seeds['seeds']} seeds, not {SEEDS_OF_ALL}")
    if not seeds["seeds on a server"]:
        found.missing.append("simulation: no seed on a server")
    if found.figures["mutants caught by two kinds"] < NUMBERS:
        found.missing.append(
            f"mutants: {found.figures['mutants caught by two kinds']} were caught by two kinds of test"
        )
    return found


def _rows(folder: Path) -> dict[str, Counter[str]]:
    """What was done by story or storm, on all databases; nothing under the name of one that told nothing."""
    rows: dict[str, Counter[str]] = {name: Counter() for name in (*STORIES, *STORMS)}
    told = (((test, name, database), counts) for one in _files(folder) for test, name, database, counts in one["rows"])
    for (_test, name, _database), counts in _last_of(told).items():
        rows.setdefault(name, Counter()).update(counts)
    return rows


def _last_of(told: Iterable[tuple[tuple[str, ...], Mapping[str, int]]]) -> dict[tuple[str, ...], Counter[str]]:
    """What the last run of each did, and what all of its runs have broken."""
    found: dict[tuple[str, ...], Counter[str]] = {}
    for test, counts in told:
        earlier = found.get(test, Counter())
        found[test] = Counter(counts) + Counter({name: earlier[name] for name in BROKEN})
    return found


def _files(folder: Path) -> Iterator[Mapping[str, Any]]:
    for file in sorted(folder.glob("*.json")):
        yield json.loads(file.read_text())


def main(arguments: Sequence[str]) -> int:
    """Print it, and write it down."""
    folder = Path(arguments[0])
    found = summary_of(folder)
    (folder / "summary.json").write_text(json.dumps({**found.figures, "missing": found.missing}, indent=2) + "\n")
    print(found)
    return 0 if found.is_good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
