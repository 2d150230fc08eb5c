"""The first page: is money stuck, why, and what to do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from hub.console.addresses import BASE
from hub.console.drawing.charts import bars, lanes
from hub.console.verdict import Facts, verdict
from hub.console.visit import Done, Group, Place, Shown, Visit
from hub.deliver.backlog import Backlog, read_backlog
from hub.flow.pauses import Pause
from hub.ingress.tokens import Role
from hub.operate.checks import KeptCheck, last_checks, run_check
from hub.operate.pausing import ProviderView, list_pauses, list_providers
from hub.operate.pulse import LaneAge, Pulse, oldest_waiting, read_lanes
from hub.operate.undecided import AGES_S, AgesOfProvider, read_ages

CHECK_S_MAX = 600.0
CHECK_OLD = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Sight:
    """Everything that the first page shows, as it was at one moment."""

    at: datetime
    pulse: Pulse
    backlog: Backlog
    oldest: datetime | None
    lanes: Sequence[LaneAge]
    ages: Sequence[AgesOfProvider]
    check: KeptCheck | None
    providers: Sequence[ProviderView]
    pauses: Sequence[Pause]


async def look(visit: Visit) -> Sight:
    """Ask for everything."""
    hub = visit.hub
    now, store = hub.clock.now(), hub.store
    async with store.reading() as conn:
        backlog = await read_backlog(conn, now)
        oldest = await oldest_waiting(conn)
        ready = await read_lanes(conn, now)
        ages = await read_ages(conn, now)
        checks = await last_checks(conn)
    pulse, providers, pauses = await asyncio.gather(
        visit.console.worklist.pulse(), read_providers(visit), list_pauses(store, hub.clock)
    )
    check = checks[0] if checks else None
    return Sight(now, pulse, backlog, oldest, ready, ages, check, providers, pauses)


async def read_providers(visit: Visit) -> list[ProviderView]:
    """How it is with each provider."""
    hub = visit.hub
    numbers: dict[str, list[int]] = {name: [] for name in hub.wiring.capabilities.providers}
    for number, spec in hub.rules.calling.items():
        if spec.provider is not None:
            numbers.setdefault(spec.provider, []).append(number)
    return await list_providers(hub.store, hub.clock, numbers, hub.wiring.providers)


async def show(visit: Visit) -> Shown:
    """The page, or only its living part where a script asks for that."""
    sight = await look(visit)
    counts = await visit.console.worklist.counts()
    facts = Facts(
        counts=counts,
        oldest_s=(sight.at - sight.oldest).total_seconds() if sight.oldest is not None else None,
        ages=sight.ages,
        pauses=sight.pauses,
        providers=sight.providers,
        check=sight.check,
        check_is_old=sight.check is not None and sight.at - sight.check.at > CHECK_OLD,
        unsent=sight.backlog.messages["ready"] + sight.backlog.messages["waiting"],
    )
    values: dict[str, Any] = {
        "sight": sight,
        "counts": counts,
        "verdict": verdict(facts),
        "waiting": sum(count for state, count in sight.backlog.deliveries.items() if state != "parked"),
        "bars": bars(sight.pulse.minutes),
        "lanes": lanes(sight.lanes),
        "ages_s": AGES_S,
    }
    return Shown("overview.html", "Overview", values)


async def prove(visit: Visit) -> Done:
    """Prove that all is accounted for; reads everything once."""
    async with asyncio.timeout(CHECK_S_MAX):
        kept = await run_check(visit.hub.store, visit.hub.clock, actor=visit.actor)
    found = "everything is accounted for" if kept.holds else f"{len(kept.violations)} violations"
    return Done(f"Checked: {found}.", f"{BASE}/check")


async def show_check(visit: Visit) -> Shown:
    """The last proofs, the newest in full."""
    async with visit.hub.store.reading() as conn:
        kept = await last_checks(conn, limit=20)
    return Shown("check.html", "Proof", {"kept": kept})


GROUP = Group(
    "overview",
    (
        Place("GET", "", show),
        Place("GET", "/", show),
        Place("GET", "/check", show_check),
        Place("POST", "/check", prove, Role.OPERATOR),
    ),
    label="Overview",
    path="/",
)
