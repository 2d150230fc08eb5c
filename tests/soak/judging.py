"""Is it flat? The line through the second half of the samples, over the events that were accepted meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tests.soak.measuring import Sample

LEAST: Final = 6
"""Fewer samples than this say nothing about a slope."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What may be added in the second half of a run: so much, so much more for each thousand events, and a share of
    what there is on average: where rows pass by, the speed of the moment decides how many are there.
    """

    slack: float
    per_thousand: float = 0.0
    level_share: float = 0.0


BOUNDS: Final[Mapping[str, Bound]] = {
    # What a hub remembers by design (recent events, texts, statements) is full long before the half of a run.
    "rss_mb": Bound(slack=24.0, per_thousand=0.05),
    "descriptors": Bound(slack=12.0),
    # What keeps a row for each event gains two thirds of its average in the second half.
    "rows": Bound(slack=1_000.0, per_thousand=50.0, level_share=0.3),
    # A table is as large as it ever was, and its free room is used again once the vacuum has come by.
    "passing_tables_mb": Bound(slack=16.0, per_thousand=0.4),
    "passing_indexes_mb": Bound(slack=16.0, per_thousand=0.4),
    "file_mb": Bound(slack=24.0, per_thousand=3.0),
    # Identities, the ledger, the seal and the list of what is archived stay: they grow with the events, and by no more.
    "kept_mb": Bound(slack=16.0, per_thousand=3.0),
}


@dataclass(frozen=True, slots=True)
class Line:
    """One series: where it was and is, what the line through its second half gained, and what it might."""

    name: str
    first: float
    last: float
    gained: float
    allowed: float

    @property
    def holds(self) -> bool:
        return self.gained <= self.allowed


def judged(samples: Sequence[Sample]) -> list[Line]:
    """Every series of the samples. An empty list where there are too few."""
    half = samples[len(samples) // 2 :]
    if len(samples) < LEAST:
        return []
    events = half[-1].events - half[0].events
    lines = []
    for name in samples[0].values:
        bound = BOUNDS["rows" if name.startswith("rows of ") else name]
        points = [(float(one.events), one.values[name]) for one in half]
        level = sum(value for _, value in points) / len(points)
        allowed = bound.slack + bound.per_thousand * events / 1_000 + bound.level_share * level
        gained = slope_of(points) * events
        lines.append(Line(name, samples[0].values[name], samples[-1].values[name], gained, allowed))
    return lines


def slope_of(points: Sequence[tuple[float, float]]) -> float:
    """How much is gained with each event, by least squares; 0 where nothing has moved on."""
    count = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0
