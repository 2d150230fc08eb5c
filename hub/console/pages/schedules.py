"""Schedules: when each was last due, when it is next, and what it sends; and the timers that handlers have set."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select

from hub.console.visit import Group, Place, Shown, Visit
from hub.routing import ScheduleConfig
from hub.routing.fields import SCHEDULE_PREFIX
from hub.schedule.instants import next_instant
from hub.store import tables as t

TIMERS_MAX = 50


async def show(visit: Visit) -> Shown:
    """All schedules, and the next timers."""
    hub, now = visit.hub, visit.hub.clock.now()
    async with hub.store.reading() as conn:
        last = {row.name: row.last_at for row in await conn.execute(select(t.schedules))}
        columns = (t.timers.c.due_at, t.timers.c.type, t.timers.c.key, t.timers.c.cause)
        timers = list(await conn.execute(select(*columns).order_by(t.timers.c.due_at).limit(TIMERS_MAX)))
    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "when": config.cron or f"every {config.every_s:g} s",
            "zone": config.zone,
            "emits": config.emit,
            "key": config.key or "",
            "catch_up": config.catch_up,
            "last": _instant(config, last.get(name)),
            "next": next_instant(config, now),
            "source": f"{SCHEDULE_PREFIX}{name}",
        }
        for name, config in sorted(hub.wiring.schedules.items())
    ]
    return Shown("schedules.html", "Schedules", {"rows": rows, "timers": timers, "timers_max": TIMERS_MAX})


def _instant(config: ScheduleConfig, at: datetime | None) -> datetime | None:
    """When it was last due. None where it never was: what is kept is then the time at which the hub first saw it."""
    return at if at is not None and next_instant(config, at - timedelta(microseconds=1)) == at else None


GROUP = Group("schedules", (Place("GET", "/schedules", show),), label="Schedules", path="/schedules")
