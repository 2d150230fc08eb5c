"""The rows that say what stands still: written by people, by handlers, and by the hub about who does not answer.

A row whose time is over holds nothing back any more and stays until the next one takes its place; that of a circuit
then means *half open*. Times are those of the processes' clocks: seconds apart do no harm here.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.flow.tables import pauses as p
from hub.store.alone import Source, read_from
from hub.store.direct import Direct
from hub.store.tables import operations
from hub.store.upserts import insert_for

Kind: TypeAlias = Literal["route", "destination", "provider"]
Cause: TypeAlias = Literal["person", "handler", "busy", "circuit"]
"""A person; a handler that was told so (maintenance); a provider that said *too many*; nobody answers."""

KINDS: Final[tuple[Kind, ...]] = ("route", "destination", "provider")
REASON_CHARS_MAX: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Why something stands still, since when, and until when (None: until somebody resumes it)."""

    kind: Kind
    name: str
    cause: Cause
    paused_by: str
    reason: str
    since: datetime
    until: datetime | None

    def holds(self, now: datetime) -> bool:
        """Whether it is in force."""
        return self.until is None or now < self.until

    def left_s(self, now: datetime) -> float | None:
        """Seconds until it ends by itself; None when it does not."""
        return None if self.until is None else max(0.0, (self.until - now).total_seconds())

    def __str__(self) -> str:
        until = f", until {_minute(self.until)}" if self.until is not None else ""
        because = f" because {self.reason}" if self.reason else ""
        return f"{self.kind} {self.name} paused since {_minute(self.since)} by {self.paused_by}{until}{because}"


def _minute(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


async def read_pauses(source: Source) -> list[Pause]:
    """Every row there is, also of those whose time is over."""
    return [
        Pause(
            kind=kind,
            name=name,
            cause=cause,
            paused_by=by,
            reason=why,
            since=_time(since),
            until=until and _time(until),
        )
        for kind, name, cause, by, why, since, until in await read_from(source, _PAUSES)
    ]


_PAUSES = Direct(
    postgresql="SELECT kind, name, cause, paused_by, reason, since, until FROM pauses ORDER BY 1, 2, 3",
    sqlite="SELECT kind, name, cause, paused_by, reason, since, until FROM pauses ORDER BY 1, 2, 3",
)


def _time(value: datetime | str) -> datetime:
    return (datetime.fromisoformat(value) if isinstance(value, str) else value).astimezone(UTC)


async def put_pause(conn: AsyncConnection, pause: Pause) -> None:
    """Let it stand still. A person's word replaces the one before; of the others the longer one counts."""
    new = insert_for(conn.dialect.name, p)
    told = {name: new.excluded[name] for name in ("paused_by", "reason", "since", "until")}
    is_longer = None if pause.cause == "person" else p.c.until < new.excluded.until
    row = {
        "kind": pause.kind,
        "name": pause.name,
        "cause": pause.cause,
        "paused_by": pause.paused_by,
        "reason": pause.reason[:REASON_CHARS_MAX],
        "since": pause.since,
        "until": pause.until,
    }
    statement = new.on_conflict_do_update(index_elements=["kind", "name", "cause"], set_=told, where=is_longer)
    await conn.execute(statement, [row])


async def lift_pauses(conn: AsyncConnection, kind: Kind, name: str, *, cause: Cause | None = None) -> list[Pause]:
    """Let it go on, whatever it stood still for (or for this cause); answers what was lifted."""
    mine = _of(kind, name) if cause is None else _of(kind, name) & (p.c.cause == cause)
    rows = (await conn.execute(delete(p).where(mine).returning(*p.c))).all()
    return [Pause(**row._mapping) for row in rows]


async def resumed_since(conn: AsyncConnection, pauses: Collection[Pause]) -> set[tuple[Kind, str, Cause]]:
    """Those of these pauses that a person has lifted after they began, whether their rows were there or not."""
    o = operations.c
    found: set[tuple[Kind, str, Cause]] = set()
    for one in pauses:
        query = select(o.id).where(o.target == target_of(one.kind, one.name), o.action == f"{one.kind}.resume")
        if (await conn.execute(query.where(o.at >= one.since).limit(1))).first() is not None:
            found.add((one.kind, one.name, one.cause))
    return found


def target_of(kind: Kind, name: str) -> str:
    """As it stands in the record of what people do."""
    return f"{kind}/{name}"


async def claim_probe(conn: AsyncConnection, kind: Kind, name: str, *, now: datetime, until: datetime) -> bool:
    """Whether this process is the one that tries again, now that the circuit's time is over. Others wait ``until``."""
    mine = _of(kind, name) & (p.c.cause == "circuit")
    claimed = await conn.execute(update(p).where(mine, p.c.until <= now).values(until=until))
    # No row any more: somebody else has tried and it went well.
    return claimed.rowcount == 1 or (await conn.execute(select(p.c.name).where(mine))).first() is None


def _of(kind: Kind, name: str) -> Any:
    return (p.c.kind == kind) & (p.c.name == name)
