"""The places where a hub on RabbitMQ and PostgreSQL can be cut off, and what it lives in meanwhile.

Beside those of ``seams.py``: before and after each question to the broker while objects are declared, each beginning of
reading, each acknowledgement, and each question whether acknowledgements have arrived.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

from hub.outbox.relay import Relay
from hub.ownership.member import Member
from hub.schedule.scheduler import Scheduler
from hub.transports import TransportUnavailableError
from hub.transports.rabbit.declaring import Declarer
from hub.transports.rabbit.session import Session
from tests.faults.life import LOOK_S, no_instants, wiring_once
from tests.faults.seams import Point, Seams, watching

RELAY_LOOK_S = 1.0
EAGER_LOOK_S = 0.1
"""The one that takes over looks often: a trial has no second to wait for it."""
AT_THE_BROKER = {
    "declaring": (Declarer, "_asked"),
    "beginning to read": (Session, "open"),
    "acknowledging": (Session, "acknowledge"),
    "proving": (Session, "ask"),
}
"""What is done → the coroutine that does it."""


class Slip(Seams):
    """The hub lives on: at its point, what it was about to do fails once, as when a connection is lost there."""

    def __init__(self, target: Point | None, on_strike: Callable[[], None]) -> None:
        super().__init__(target)
        self._on_strike = on_strike

    def reach(self, place: str) -> None:
        self.count(place)
        if self.reached[-1] != self.target:
            return
        self.has_struck = True
        self._on_strike()
        if place.startswith(("statement", "before commit", "after commit")):
            raise ConnectionResetError("the connection was lost, as the trial wants it")
        raise TransportUnavailableError("the connection was lost, as the trial wants it")


@contextmanager
def busy_surroundings(seams: Seams, *, is_quiet: bool) -> Iterator[Seams]:
    """Watched, the rules at hand, no schedule; one of two hubs, which wake each other up."""
    with ExitStack() as stack:
        stack.enter_context(watching(seams))
        for doing, (owner, name) in AT_THE_BROKER.items():
            stack.enter_context(patch.object(owner, name, _watched(seams, doing, owner.__dict__[name])))
        stack.enter_context(patch("hub.plan.load_wiring", wiring_once))
        stack.enter_context(patch("hub.schedule.scheduler.due_instants", no_instants))
        if is_quiet:
            # A stop may have to wait for this one.
            stack.enter_context(patch("hub.owner.Relay", partial(Relay, sweep_s=RELAY_LOOK_S)))
            stack.enter_context(patch("hub.owner.Member", partial(Member, look_s=LOOK_S)))
            stack.enter_context(patch("hub.app.Scheduler", partial(Scheduler, look_s=LOOK_S)))
        else:
            stack.enter_context(patch("hub.owner.Member", partial(Member, look_s=EAGER_LOOK_S)))
        yield seams


def _watched(seams: Seams, doing: str, original: Any) -> Any:
    function = original.__func__ if isinstance(original, classmethod) else original

    async def watched(*arguments: Any, **options: Any) -> Any:
        seams.reach(f"before {doing}")
        result = await function(*arguments, **options)
        try:
            seams.reach(f"after {doing}")
        except TransportUnavailableError:
            if isinstance(result, Session):
                # A connection that is lost takes its channel along: nobody else could read behind this one.
                await result.close()
            raise
        return result

    return classmethod(watched) if isinstance(original, classmethod) else watched
