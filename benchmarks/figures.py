"""What one run gave, and how it was read from the kernel's counters."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from benchmarks.processes import Child, postgres_cpu_s, rabbit_cpu_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One run of one contestant.

    ``per_s`` events a second; ``*_cpu_s`` processor seconds per 1,000 events; ``peak_mb`` of the worker's processes;
    ``values`` what only this kind of run has, named with its unit.
    """

    contestant: str
    events: int
    per_s: float = 0.0
    worker_cpu_s: float = 0.0
    database_cpu_s: float = 0.0
    broker_cpu_s: float = 0.0
    peak_mb: float = 0.0
    values: Mapping[str, float] = field(default_factory=dict)

    @property
    def cpu_s(self) -> float:
        """Processor seconds per 1,000 events in all."""
        return self.worker_cpu_s + self.database_cpu_s + self.broker_cpu_s

    def number(self, name: str) -> float:
        """A field or one of ``values``. Raises KeyError for a name that this run has not measured."""
        own = getattr(self, name, None)
        return float(own) if isinstance(own, int | float) else self.values[name]

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "cpu_s": self.cpu_s}


@dataclass(frozen=True, slots=True)
class Reading:
    """The counters at one moment."""

    at_s: float
    worker_cpu_s: float
    database_cpu_s: float
    broker_cpu_s: float

    @classmethod
    def of(cls, worker: Child | None) -> Reading:
        return cls(time.perf_counter(), worker.cpu_s() if worker is not None else 0.0, postgres_cpu_s(), rabbit_cpu_s())


def figure_between(
    start: Reading, end: Reading, *, contestant: str, events: int, peak_mb: float, values: Mapping[str, float]
) -> Figure:
    """The figure of the ``events`` that were done between two readings."""
    thousands = events / 1000
    return Figure(
        contestant=contestant,
        events=events,
        per_s=events / (end.at_s - start.at_s),
        worker_cpu_s=(end.worker_cpu_s - start.worker_cpu_s) / thousands,
        database_cpu_s=(end.database_cpu_s - start.database_cpu_s) / thousands,
        broker_cpu_s=(end.broker_cpu_s - start.broker_cpu_s) / thousands,
        peak_mb=peak_mb,
        values=values,
    )
