"""Which events may leave the tables: those of which nothing is open and nothing has happened lately.

Undone work stays for ever, whatever its age. So does what it came from, as far as handlers may still ask for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal, TypeAlias, get_args
from uuid import UUID

from sqlalchemy import Select, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.operate.undecided import IS_UNDECIDED
from hub.retention.record import in_parts
from hub.store import tables as t
from hub.store.tables_archive import archived

WINDOW: Final = 1_000
"""Events that are looked at together."""
STEPS_MAX: Final = 8
"""How far what followed from an event is looked for: event, timer, event, … An unending chain holds nothing older."""
ROWS_MAX: Final = 10_000
"""An event with more rows than this of one sort stays where it is: it would not fit into memory."""
ID_SLACK: Final = timedelta(days=1)
"""How far the clock of an id may be behind that of its row's time."""

Reason: TypeAlias = Literal["open", "unsent", "review", "conflict", "call", "barrier", "followed", "recent", "large"]
REASONS: tuple[Reason, ...] = get_args(Reason)
"""Why an old event stays.

open      a delivery of it is not finished, or parked
unsent    a message of it waits in the outbox
review    a person has not answered
conflict  the same identity came with other content, and nobody has decided
call      what a provider did is not known, and nobody has answered for it
barrier   others wait for it
followed  something that followed from it is open
recent    something happened to it lately
large     it has too many rows
"""

_i, _d, _o = t.inbox, t.deliveries, t.outbox


@dataclass(frozen=True, slots=True)
class Window:
    """Some events in order of acceptance: those that may go, and why the others stay. ``last`` is where to go on."""

    sizes: dict[int, int]
    """The size of the payload by the number of each event that may go."""
    kept: dict[Reason, int]
    last: int
    is_end: bool


async def look_at(conn: AsyncConnection, after: int, cutoff: datetime, *, size: int = WINDOW) -> Window:
    """The next events behind number ``after``. The end is where all are younger than ``cutoff``."""
    columns = (_i.c.seq, _i.c.id, _i.c.received_at, func.length(_i.c.payload).label("size"))
    rows = list(await conn.execute(select(*columns).where(_i.c.seq > after).order_by(_i.c.seq).limit(size)))
    old = {row.seq: row for row in rows if row.received_at < cutoff}
    last = rows[-1].seq if rows else after
    left = {row.seq: row.id for row in old.values()}
    kept: dict[Reason, int] = {}
    for reason in REASONS:
        if left:
            stay = await _staying(conn, reason, left, cutoff)
            if stay:
                kept[reason] = len(stay)
            left = {seq: event_id for seq, event_id in left.items() if seq not in stay}
    return Window({seq: old[seq].size for seq in left}, kept, last, not old)


async def _staying(conn: AsyncConnection, reason: Reason, events: dict[int, Any], cutoff: datetime) -> set[int]:
    if reason == "followed":
        return await _followed_by_open(conn, events)
    seqs, by_id = list(events), {event_id: seq for seq, event_id in events.items()}
    stay: set[int] = set()
    for some in in_parts(seqs):
        ids = [events[seq] for seq in some]
        for query, names_ids in _queries(reason, some, ids, cutoff):
            found = (await conn.scalars(query)).all()
            stay.update(by_id[one] for one in found) if names_ids else stay.update(found)
    return stay & events.keys()


def _queries(
    reason: Reason, seqs: Sequence[int], ids: Sequence[Any], cutoff: datetime
) -> list[tuple[Select[Any], bool]]:
    """What finds the events that stay for this reason, by their numbers, or (True) by their ids."""
    of_event = select(_d.c.event_seq).where(_d.c.event_seq.in_(seqs)).distinct()

    def with_rows(table: Any, *where: Any) -> Select[Any]:
        return of_event.join(table, table.c.delivery_id == _d.c.id).where(*where)

    match reason:
        case "open":
            return [(of_event.where(_d.c.state.in_(t.OPEN_STATES)), False)]
        case "unsent":
            return [(with_rows(_o, _o.c.state.in_(("ready", "waiting", "parked"))), False)]
        case "review":
            return [(with_rows(t.reviews, t.reviews.c.state == "open"), False)]
        case "call":
            return [(with_rows(t.calls, IS_UNDECIDED), False)]
        case "barrier":
            return [(with_rows(t.barriers), False)]
        case "conflict":
            return [(_of_ids(t.conflicts, ids).where(t.conflicts.c.state == "open"), True)]
        case "recent":
            latest = or_(_o.c.sent_at >= cutoff, _o.c.created_at >= cutoff)
            return [
                (of_event.where(_d.c.finished_at >= cutoff), False),
                (with_rows(_o, latest), False),
                (with_rows(t.reviews, t.reviews.c.resolved_at >= cutoff), False),
                *(
                    (_of_ids(table, ids).where(table.c.received_at >= cutoff), True)
                    for table in (t.duplicates, t.conflicts)
                ),
            ]
        case "large":
            many = func.count() > ROWS_MAX
            by_delivery = select(_d.c.event_seq).where(_d.c.event_seq.in_(seqs)).group_by(_d.c.event_seq).having(many)
            return [
                *(
                    (by_delivery.join(table, table.c.delivery_id == _d.c.id), False)
                    for table in (t.attempts, t.calls, _o)
                ),
                *(
                    (
                        select(table.c.event_id)
                        .where(table.c.event_id.in_(ids))
                        .group_by(table.c.event_id)
                        .having(many),
                        True,
                    )
                    for table in (t.duplicates, t.conflicts, t.tags)
                ),
            ]
        case "followed":
            return []


def _of_ids(table: Any, ids: Sequence[Any]) -> Select[Any]:
    return select(table.c.event_id).where(table.c.event_id.in_(ids)).distinct()


async def _followed_by_open(conn: AsyncConnection, events: dict[int, Any]) -> set[int]:
    """Those from which something followed, within some steps, that is not finished."""
    roots: dict[Any, set[int]] = {event_id: {seq} for seq, event_id in events.items()}
    stay: set[int] = set()
    for _ in range(STEPS_MAX):
        below: dict[Any, set[int]] = {}
        for some in in_parts(list(roots)):
            caused = select(_i.c.id, _i.c.seq, _i.c.cause).where(_i.c.cause.in_(some), _i.c.cause.is_not(None))
            is_open = caused.join(_d, _d.c.event_seq == _i.c.seq).where(_d.c.state.in_(t.OPEN_STATES))
            for row in await conn.execute(is_open.with_only_columns(_i.c.cause).distinct()):
                stay |= roots[row.cause]
            for row in await conn.execute(caused.limit(10 * WINDOW)):
                below.setdefault(row.id, set()).update(roots[row.cause])
        roots = {event_id: above - stay for event_id, above in below.items() if above - stay}
        if not roots:
            break
    return stay


# --- what came after its event was archived -------------------------------------------------------------------------


async def late_repeats(conn: AsyncConnection, cutoff: datetime, *, size: int = WINDOW) -> dict[str, list[Any]]:
    """The ids of old duplicates, and of resolved conflicts, whose event is in the archive already."""
    found: dict[str, list[Any]] = {}
    for name, table in (("duplicates", t.duplicates), ("conflicts", t.conflicts)):
        query = (
            select(table.c.id)
            .where(
                table.c.id < _first_id(cutoff + ID_SLACK),
                table.c.received_at < cutoff,
                table.c.event_id.in_(select(archived.c.event_id)),
            )
            .order_by(table.c.id)
            .limit(size)
        )
        if name == "conflicts":
            query = query.where(table.c.state == "resolved")
        found[name] = list((await conn.scalars(query)).all())
    return found


def _first_id(moment: datetime) -> UUID:
    """What ids that were made at this moment or later, which begin with the time, are not below."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)
