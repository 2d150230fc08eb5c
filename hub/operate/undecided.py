"""Calls to providers: those whose outcome nobody knows yet, as a work list, and all of them, newest first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, case, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.errors import UsageError
from hub.event import route_id_of
from hub.operate.lookup import LIMIT, bounded, route_names
from hub.store import tables as t
from hub.store.store import Store

CALL_STATES: Final = ("started", "settled", "declined", "pending", "unknown", "not_found")
OPEN_CALLS: Final = ("started", "pending", "unknown")
LATE_S: Final = 60.0
"""A call that is open for longer than this is in doubt: no request takes so long."""
AGES_S: Final = (LATE_S, 900.0, 3_600.0, 86_400.0)
COUNT_MAX: Final = 10_000
"""More of them are not counted: beyond this it makes no difference to anybody."""
WINDOW: Final = 50_000
"""How many calls one page of a search may look at."""

_c, _d, _i = t.calls, t.deliveries, t.inbox
IS_UNCLOSED: Final = t.in_state(_c, *OPEN_CALLS) & _c.c.closed_at.is_(None)
"""Of a call: it has no outcome, and nobody is known to have answered for it. Spelt as the index that holds them."""
IS_UNDECIDED: Final = IS_UNCLOSED & ((_d.c.state != "done") | t.in_state(_c, "started"))
"""Of a call joined to its delivery: nobody knows the outcome, and nobody has answered for it.

A call's outcome is written by its own delivery alone. Where that is done and its handler was told *pending* or
*unknown*, the handler has answered: what it arranged decides, and the row stays as it was (``hub.operate.closing``).
Of one that is *started* still no handler has seen the end, and who discards a delivery does not say what a provider
did: these wait for a person. See docs/decisions/0007-unknown-outcomes.md.
"""
UNDECIDED: Final = _c.join(_d, _d.c.id == _c.c.delivery_id)
"""What to select from where ``IS_UNDECIDED`` is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallView:
    """One call, with the delivery that made it."""

    delivery_id: int
    step: str
    number: int
    provider: str
    key: str
    state: str
    outcome: Mapping[str, object] | None
    started_at: datetime
    settled_at: datetime | None
    lookups: int
    route: str
    event_id: UUID | None
    type: str
    event_key: str | None
    delivery_state: str
    next_at: datetime | None
    reason: str

    @property
    def is_over(self) -> bool:
        """Whether its delivery has come to an end, so that the hub does not ask about it any more."""
        return self.delivery_state not in t.OPEN_STATES

    @property
    def words(self) -> str:
        """Why it is undecided or declined, as the provider or the hub said it."""
        said = (self.outcome or {}).get("reason")
        return said if isinstance(said, str) else ""


@dataclass(frozen=True, slots=True)
class AgesOfProvider:
    """How many undecided calls of a provider are how old: a count for each of ``AGES_S``, and one for the rest."""

    provider: str
    counts: tuple[int, ...]
    oldest: datetime

    @property
    def late(self) -> int:
        """Those that are in doubt."""
        return sum(self.counts[1:])


async def list_undecided(
    store: Store, *, provider: str | None = None, after: tuple[datetime, int] | None = None, limit: int = LIMIT
) -> list[CallView]:
    """Calls whose outcome is not known and that nobody has answered for, the oldest first."""
    query = _calls().where(IS_UNDECIDED).order_by(_c.c.started_at, _c.c.delivery_id).limit(bounded(limit))
    if provider is not None:
        query = query.where(_c.c.provider == provider)
    if after is not None:
        query = query.where(tuple_(_c.c.started_at, _c.c.delivery_id) > after)
    return await _read(store, query)


async def list_calls(
    store: Store,
    *,
    provider: str | None = None,
    state: str | None = None,
    before: int | None = None,
    limit: int = LIMIT,
) -> tuple[list[CallView], int | None]:
    """Calls, those of the newest deliveries first, and the number to go on from; None at the end. Raises UsageError."""
    if state is not None and state not in CALL_STATES:
        raise UsageError(f"expected a state of a call ({', '.join(CALL_STATES)}), found {state!r}")
    size = bounded(limit)
    query = _calls().order_by(_c.c.delivery_id.desc(), _c.c.step, _c.c.number)
    query = query if before is None else query.where(_c.c.delivery_id < before)
    floor = None
    if provider is not None or state is not None:
        # Neither has an index: a page looks at so many calls and says from where to go on.
        window = select(_c.c.delivery_id).order_by(_c.c.delivery_id.desc()).offset(WINDOW).limit(1)
        window = window if before is None else window.where(_c.c.delivery_id < before)
        async with store.reading() as conn:
            floor = await conn.scalar(window)
        query = query if floor is None else query.where(_c.c.delivery_id > floor)
    if provider is not None:
        query = query.where(_c.c.provider == provider)
    if state is not None:
        query = query.where(t.in_state(_c, state))
    found = await _read(store, query.limit(size + 1))
    if len(found) <= size:
        return found, None if floor is None else floor + 1
    # A delivery's calls stay together: the last one's may go on.
    last = found[size].delivery_id
    whole = [one for one in found if one.delivery_id > last]
    return (whole, last + 1) if whole else (found[:size], last)


async def read_ages(conn: AsyncConnection, now: datetime) -> Sequence[AgesOfProvider]:
    """The undecided calls of each provider by age: of the oldest ``COUNT_MAX``, counted where they lie."""
    oldest = select(_c.c.provider, _c.c.started_at).select_from(UNDECIDED).where(IS_UNDECIDED)
    few = oldest.order_by(_c.c.started_at).limit(COUNT_MAX).subquery()
    bounds = [now - timedelta(seconds=age_s) for age_s in AGES_S]
    older = [func.sum(case((few.c.started_at <= bound, 1), else_=0)) for bound in bounds]
    query = select(few.c.provider, func.min(few.c.started_at), func.count(), *older).group_by(few.c.provider)
    return [
        AgesOfProvider(name, tuple(this - next_ for this, next_ in pairwise((*counts, 0))), first)
        for name, first, *counts in await conn.execute(query.order_by(few.c.provider))
    ]


async def count_late(conn: AsyncConnection, before: datetime) -> int:
    """How many calls are in doubt, up to ``COUNT_MAX``: undecided, and begun before this."""
    late = select(_c.c.delivery_id).select_from(UNDECIDED).where(IS_UNDECIDED, _c.c.started_at < before)
    return await conn.scalar(select(func.count()).select_from(late.limit(COUNT_MAX).subquery())) or 0


def _calls() -> Any:
    delivery = (_d.c.event_id, _d.c.state.label("delivery_state"), _d.c.next_at, _d.c.reason)
    joined = _c.outerjoin(_d, _d.c.id == _c.c.delivery_id).outerjoin(_i, _i.c.seq == _d.c.event_seq)
    return select(_c, *delivery, _i.c.type, _i.c.key.label("event_key")).select_from(joined)


async def _read(store: Store, query: Any) -> list[CallView]:
    async with store.reading() as conn:
        names = await route_names(conn)
        return [_view(row, names) for row in await conn.execute(query)]


def _view(row: Row[Any], names: Mapping[int, str]) -> CallView:
    return CallView(
        delivery_id=row.delivery_id,
        step=row.step,
        number=row.number,
        provider=row.provider,
        key=row.key,
        state=row.state,
        outcome=row.outcome,
        started_at=row.started_at,
        settled_at=row.settled_at,
        lookups=row.lookups,
        route=names.get(route_id_of(row.delivery_id), ""),
        event_id=row.event_id,
        type=row.type or "",
        event_key=row.event_key,
        delivery_state=row.delivery_state or "",
        next_at=row.next_at,
        reason=row.reason or "",
    )
