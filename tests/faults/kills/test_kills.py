"""Two hubs over all five systems while they, their lines and their servers are broken; and that the judge notices.

``make faults`` runs a middle one and prints its figures; ``python -m tests.faults.kills --kills 200 --events 100000``
the whole one.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from tests.faults.conftest import IS_EVERYTHING, Figures, Telling
from tests.faults.kills.judge import EventSent, Evidence, compared, members_in_order
from tests.faults.kills.run import Run
from tests.faults.kills.storm import CUT, KILL, SERVER, STOP
from tests.simulation.judge import Seen

KILLS, EVENTS = (10, 3_000) if IS_EVERYTHING else (2, 200)
RUN_S_MAX = 3_600


@pytest.mark.timeout(RUN_S_MAX)
async def test_nothing_is_lost_or_done_twice_in_any_system_whatever_breaks(
    tmp_path: Path, chance: Random, tell: Telling, figures: Figures
) -> None:
    if not IS_EVERYTHING and os.environ.get("HUB_TEST_LONG") != "1":
        pytest.skip("long; HUB_TEST_LONG=1 runs a thin one, make faults a middle one")

    outcome = await Run(chance.randrange(2**32), KILLS, EVENTS, lambda _words: None).whole(tmp_path)

    done = outcome.counts
    counts = {"killed": done[KILL], "stops": done[STOP], "cuts": done[CUT], "restarts": done[SERVER]}
    events, violations = sum(outcome.events.values()), len(outcome.violations)
    tell("all systems", "postgresql", Counter({**counts, "events": events, "violations": violations}))
    figures(str(outcome))
    assert not outcome.violations, "\n".join(outcome.violations)
    assert done[KILL] == KILLS


STORED = {"a": (1, 7, b"A"), "b": (2, 7, b"B"), "c": (3, 8, b"C")}


@pytest.mark.parametrize(
    ("arrived", "violation"),
    [
        ({"a": b"A", "b": b"B"}, "every message comes"),
        ({"a": b"A", "b": b"B", "c": b"C", "d": b"D"}, "what comes was in the outbox"),
        ({"a": b"A", "b": b"X", "c": b"C"}, "a message comes as it was stored"),
        ({"b": b"B", "a": b"A", "c": b"C"}, "a chain keeps its order"),
    ],
)
def test_the_judge_notices_what_consumers_get(arrived: Mapping[str, bytes], violation: str) -> None:
    assert compared("q", STORED, {"c": b"C", "a": b"A", "b": b"B"}) == []

    assert [one for one in compared("q", STORED, arrived) if one.startswith(violation)]


NOTHING = Seen([], {}, {}, [], {}, {}, {}, {}, {}, {}, {}, {})
EVENTS_SENT = [EventSent(b"1", 5, 1, True), EventSent(b"2", 5, 2, True), EventSent(b"3", 6, 1, True)]
TRUE = Evidence(
    NOTHING, EVENTS_SENT, {"smc.customerEvents": {"x": b"3", "y": b"1", "z": b"2"}}, [], 0, {}, 1, {}, [], [], []
)


@pytest.mark.parametrize(
    ("arrived", "violation"),
    [
        ({"y": b"1", "z": b"2"}, "an accepted event of a member is told under one id"),
        ({"x": b"3", "y": b"1", "z": b"2", "w": b"2"}, "an accepted event of a member is told under one id"),
        ({"x": b"3", "y": b"1", "z": b"2", "w": b"4"}, "what is told of members was sent"),
        ({"x": b"3", "z": b"2", "y": b"1"}, "a member's events are told in the order in which they were sent"),
    ],
)
def test_the_judge_notices_what_members_are_told(arrived: Mapping[str, bytes], violation: str) -> None:
    assert members_in_order(TRUE) == []

    found = members_in_order(replace(TRUE, arrived={"smc.customerEvents": arrived}))

    assert [one for one in found if one.startswith(violation)]
