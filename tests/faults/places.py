"""How many places each story is crashed at, kept in ``places.json``: a drop is a failure.

A place that is gone may be a statement that was spared, or a seam that nobody listens to any more, which would be a
hole in the grid. Whoever has looked which it was counts anew: ``python -m tests.faults.places [STORY…]``.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

FILE = Path(__file__).parent / "places.json"
STORIES = ("top-up", "forward", "invoice", "exchange", "payment", "subscribe", "renewal", "till")
"""All that is crashed at. Which database a story is on in a run goes by its place here."""
LOOSE = 0.04
"""Loops that race take another way past a few of the places."""
TILL = "till"
"""The story of two hubs, which has a stage of its own."""
LOOSE_OF_TWO = 0.2
"""Of two hubs, either may do a part of the work."""
RUNS = 5
"""Only what every one of so many runs meets is counted: a busy machine parts batches that an idle one takes at once."""


def expect_no_fewer(story: str, database: str, places: Collection[str]) -> None:
    """Raises AssertionError where there are fewer than were counted before."""
    before: int = json.loads(FILE.read_text()).get(story, {}).get(database, 0)
    assert before, f"{FILE.name} does not know {story} on {database}: python -m tests.faults.places {story}"
    loose = LOOSE_OF_TWO if story == TILL else LOOSE
    assert len(places) >= before * (1 - loose), (
        f"{story} on {database} is crashed at {len(places)} places, where it was at {before}: look which are gone, and"
        f" count anew if that is right: python -m tests.faults.places {story}"
    )


async def count(stories: Sequence[str]) -> None:
    """Count the places of these stories, of all where none is named, and write them down."""
    from tests.faults.invoices import INVOICE  # noqa: PLC0415 - they know this module
    from tests.faults.life import LivesHere  # noqa: PLC0415 - as above
    from tests.faults.nursery import nursery  # noqa: PLC0415 - as above
    from tests.faults.rabbit_stage import RabbitStage  # noqa: PLC0415 - as above
    from tests.faults.scenarios import SCENARIOS  # noqa: PLC0415 - as above
    from tests.faults.stage import Stage  # noqa: PLC0415 - as above
    from tests.faults.test_flow_crashes import FLOWS  # noqa: PLC0415 - as above
    from tests.faults.trial import clean_run  # noqa: PLC0415 - as above
    from tests.support.databases import DIALECTS, Databases  # noqa: PLC0415 - as above

    every = {**SCENARIOS, INVOICE.name: INVOICE, **FLOWS}
    with tempfile.TemporaryDirectory(prefix="hub_places_") as name:
        folder = Path(name)
        databases = Databases(folder)
        for story in [one for one in stories or every if one != TILL]:
            for dialect in DIALECTS:
                stage = Stage(every[story], dialect, databases, folder)
                await stage.prepare()
                runs = [await clean_run(stage, LivesHere()) for _ in range(RUNS)]
                await stage.close()
                for verdict, _, _ in runs:
                    assert not verdict.violations, str(verdict)
                _write(story, dialect, [{point.place for point in points} for _, points, _ in runs])
        if not stories or TILL in stories:
            async with nursery() as apart:
                till = RabbitStage(databases, folder, apart)
                await till.prepare()
                clean = [await till.clean_run() for _ in range(RUNS)]
                await till.close()
                for one in clean:
                    assert not one.verdict.violations, str(one.verdict)
                _write(TILL, "postgresql", [{point.place for point in one.opening | one.rest} for one in clean])
        await databases.close()


def _write(story: str, database: str, met: Sequence[set[str]]) -> None:
    places = set.intersection(*met)
    counted = json.loads(FILE.read_text())
    counted.setdefault(story, {})[database] = len(places)
    FILE.write_text(json.dumps(counted, indent=2, sort_keys=True) + "\n")
    print(f"{story} on {database}: {len(places)} places", flush=True)


if __name__ == "__main__":
    asyncio.run(count(sys.argv[1:]))
