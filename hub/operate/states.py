"""The state of an event, from the states of its deliveries: the first that one of them is in, in this order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, TypeAlias, get_args

from sqlalchemy import ScalarSelect, case, func, select

from hub.store import tables as t

EventState: TypeAlias = Literal["parked", "waiting", "refused", "discarded", "applied", "unmatched"]

EVENT_STATES: tuple[EventState, ...] = get_args(EventState)
DELIVERY_STATES_OF: dict[EventState, tuple[str, ...]] = {
    "parked": ("parked",),
    "waiting": ("ready", "waiting", "calling", "retrying", "deferred"),
    "refused": ("refused",),
    "discarded": ("discarded",),
    "applied": ("done",),
}
"""Which states of a delivery put its event into which state; an event without deliveries is unmatched."""

_UNMATCHED = EVENT_STATES.index("unmatched")

rank_of_delivery = case(
    *((t.deliveries.c.state.in_(states), EVENT_STATES.index(name)) for name, states in DELIVERY_STATES_OF.items())
)


def rank_of_event() -> ScalarSelect[Any]:
    """A column for a query over the inbox: the place of the event's state in ``EVENT_STATES``."""
    lowest = select(func.min(rank_of_delivery)).where(t.deliveries.c.event_seq == t.inbox.c.seq)
    return select(func.coalesce(lowest.correlate(t.inbox).scalar_subquery(), _UNMATCHED)).scalar_subquery()


def state_of_rank(rank: int) -> EventState:
    return EVENT_STATES[rank]


def state_among(states: Iterable[str]) -> EventState:
    """The state of an event whose deliveries are in these states."""
    found = set(states)
    return next((name for name in EVENT_STATES if found & set(DELIVERY_STATES_OF.get(name, ()))), "unmatched")
