"""The proof that all is accounted for, run now and kept, so that everybody sees when it was made and how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.clock import Clock
from hub.operate.equation import EquationReport, check
from hub.store import tables as t
from hub.store.store import Store

KEPT_MAX = 100

_k = t.checks


@dataclass(frozen=True, slots=True)
class KeptCheck:
    """One proof that was made. ``report`` has ``sources``, ``states`` and ``violations``."""

    at: datetime
    actor: str
    duration_ms: float
    holds: bool
    report: dict[str, Any]

    @property
    def sources(self) -> list[dict[str, Any]]:
        sources: list[dict[str, Any]] = self.report["sources"]
        return sources

    @property
    def states(self) -> dict[str, int]:
        states: dict[str, int] = self.report["states"]
        return states

    @property
    def violations(self) -> list[dict[str, str]]:
        violations: list[dict[str, str]] = self.report["violations"]
        return violations

    def total(self, what: str) -> int:
        """The sum of one count over all sources."""
        return sum(int(one[what]) for one in self.sources)


async def run_check(store: Store, clock: Clock, *, actor: str) -> KeptCheck:
    """Prove it now, and keep the result."""
    begun = clock.monotonic()
    report = await check(store)
    kept = KeptCheck(clock.now(), actor, (clock.monotonic() - begun) * 1000, report.holds, _as_json(report))

    async def work(conn: AsyncConnection) -> None:
        row = {"id": clock.new_id(), "at": kept.at, "actor": actor, "duration_ms": kept.duration_ms}
        await conn.execute(insert(_k), [{**row, "holds": kept.holds, "report": kept.report}])
        old = select(_k.c.id).order_by(_k.c.at.desc()).offset(KEPT_MAX).limit(KEPT_MAX)
        ids = list((await conn.scalars(old)).all())
        if ids:
            await conn.execute(delete(_k).where(_k.c.id.in_(ids)))

    await store.write(work)
    return kept


async def last_checks(conn: AsyncConnection, limit: int = 1) -> Sequence[KeptCheck]:
    """The proofs that were made last, the newest first."""
    columns = (_k.c.at, _k.c.actor, _k.c.duration_ms, _k.c.holds, _k.c.report)
    rows = await conn.execute(select(*columns).order_by(_k.c.at.desc()).limit(limit))
    return [KeptCheck(*row) for row in rows]


def _as_json(report: EquationReport) -> dict[str, Any]:
    return {
        "sources": [asdict(one) for one in report.sources],
        "states": dict(report.states),
        "violations": [asdict(one) for one in report.violations],
    }
