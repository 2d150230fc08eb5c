"""The summary of ``make faults`` adds up what the parts have told, and takes nothing that was not told for a zero."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.faults.places import FILE, STORIES
from tests.faults.summary import STORMS, main, summary_of

STORY = {"places": 5, "points": 9, "raised": 5, "killed": 1, "passed by": 1, "events": 40}
MUTANTS = {"mutants": 28, "caught_by": {"unit or property": 20, "simulation": 9}, "caught_by_two_kinds": 25}
PARTS: dict[str, list[Any]] = {
    "crash-points": [{"rows": [["test_it", story, "sqlite", STORY] for story in STORIES]}],
    "storms": [
        {"rows": [["test_it", storm, "postgresql", {what: 10, "events": 100}] for storm, what in STORMS.items()]}
    ],
    "simulation": [
        {"played": ["1/2"], "counts": {"seeds": 600, "events": 9, "kills": 4, "failed": 0}},
        {"played": ["2/2"], "counts": {"seeds": 400, "events": 9, "kills": 4, "failed": 0}},
        {"played": ["--postgresql"], "counts": {"seeds on a server": 20, "events": 9, "kills": 1, "failed": 0}},
    ],
    "mutants": [MUTANTS],
}


def told_to(folder: Path, parts: dict[str, list[Any]]) -> Path:
    for part, files in parts.items():
        (folder / part).mkdir()
        for number, file in enumerate(files):
            (folder / part / f"{number}.json").write_text(json.dumps(file))
    return folder


def test_all_parts_are_added_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main([str(told_to(tmp_path, PARTS))])

    told = json.loads((tmp_path / "summary.json").read_text())
    assert code == 0
    assert (told["places"], told["points raised at"], told["points killed at"]) == (40, 40, 8)
    assert (told["seeds"], told["seeds on a server"], told["kills in simulation"]) == (1_020, 20, 9)
    assert (told["kills"], told["cuts"], told["stops"], told["restarts"]) == (38, 10, 10, 20)
    assert (told["events"], told["violations"], told["missing"]) == (1_047, 0, [])
    assert told["mutants caught by two kinds"] == 25
    assert "violations" in capsys.readouterr().out


@pytest.mark.parametrize("part", list(PARTS))
def test_a_part_that_told_nothing_is_missing(part: str, tmp_path: Path) -> None:
    found = summary_of(told_to(tmp_path, {name: files for name, files in PARTS.items() if name != part}))

    assert found.missing
    assert not found.is_good


def test_a_test_that_was_run_again_counts_once_but_what_it_broke_stays(tmp_path: Path) -> None:
    [stories], seeds = PARTS["crash-points"], PARTS["simulation"]
    failed = [[*row[:3], row[3] | {"places": 7, "violations": 2}] for row in stories["rows"][:1]]
    again = {
        "crash-points": [{"rows": [*failed, *stories["rows"][1:]]}, {"rows": stories["rows"][:1]}],
        "simulation": [{**seeds[0], "counts": seeds[0]["counts"] | {"failed": 1}}, *seeds],
        "mutants": [MUTANTS | {"mutants": 3}, MUTANTS],
    }

    found = summary_of(told_to(tmp_path, {**PARTS, **again}))

    once = (len(STORIES) * STORY["places"], 1_020, MUTANTS["mutants"])
    assert tuple(found.figures[name] for name in ("places", "seeds", "mutants")) == once
    assert found.figures["violations"] == 3


def test_a_story_at_which_nobody_was_killed_is_missing(tmp_path: Path) -> None:
    rows = [["test_it", story, "sqlite", STORY | {"killed": int(story != "invoice")}] for story in STORIES]

    found = summary_of(told_to(tmp_path, {**PARTS, "crash-points": [{"rows": rows}]}))

    assert found.missing == ["invoice: no point was killed"]


@pytest.mark.parametrize(
    "broken",
    [
        {"simulation": [*PARTS["simulation"], {"played": ["3/3"], "counts": {"failed": 1}}]},
        {"storms": [*PARTS["storms"], {"rows": [["test_cuts", "cuts", "postgresql", {"violations": 1}]]}]},
    ],
)
def test_a_promise_that_was_broken_is_told(broken: dict[str, list[Any]], tmp_path: Path) -> None:
    found = summary_of(told_to(tmp_path, {**PARTS, **broken}))

    assert found.figures["violations"] == 1
    assert not found.is_good


def test_every_story_that_there_is_must_tell() -> None:
    assert set(STORIES) == set(json.loads(FILE.read_text()))
