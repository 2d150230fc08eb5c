"""What an error means for the delivery, and how long it waits then."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.deliver.batch import ending_of
from hub.deliver.drive import HandlerLateError
from hub.deliver.settle import Attempt, Settler
from hub.deliver.work import Deferred, Failed, Work
from hub.errors import BUSY_S_MAX, BusyError, NotYet, PermanentError, RetryableError, StoreUnavailableError
from hub.routing.router import CompiledRoute
from tests.support.clock import SettableClock
from tests.unit.event.test_event import an_event

ROUTE_ID = 3


def a_route(**given_: Any) -> CompiledRoute:
    values: dict[str, Any] = {
        "number": 0, "name": "run", "was": (), "match": ("#",), "sources": frozenset(), "handle": "test.run",
        "publish": (), "attempts": 5, "first_s": 2.0, "longest_s": 60.0, "on_park": "wait", "disabled": False,
        "options": {},
    }  # fmt: skip
    return CompiledRoute(**{**values, **given_})


def a_work(**given_: Any) -> Work:
    values: dict[str, Any] = {
        "id": 1 << 16 | ROUTE_ID, "route_id": ROUTE_ID, "lane": 1, "chain": 11, "barrier": False, "unsure": False,
        "state": "ready", "attempts": 0, "event": an_event("k"),
    }  # fmt: skip
    return Work(**{**values, **given_})


def foreseen(error: BaseException, *, attempts: int = 0, route: CompiledRoute | None = None, late_s: float = 0) -> Any:
    clock = SettableClock()
    clock.advance(late_s)
    settler = Settler(clock, {ROUTE_ID: route or a_route()})
    attempt = Attempt(a_work(attempts=attempts), ending_of(error), clock.now(), 1.0)
    return settler.foresee(attempt), clock


@pytest.mark.parametrize(
    ("error", "ending"),
    [
        (PermanentError("no"), Failed("no", permanent=True)),
        (RetryableError("soon", delay_s=7), Failed("soon", retry_s=7)),
        (RetryableError("soon"), Failed("soon")),
        (BusyError("429", delay_s=3), Failed("429", retry_s=3, counts=False, within_s=BUSY_S_MAX)),
        (StoreUnavailableError("away", delay_s=1), Failed("away", retry_s=1, counts=False)),
        (NotYet("wait", within_s=5), Deferred("wait", 5, "park")),
        (HandlerLateError(2), Failed("the handler did not end within 2 s")),
        (ValueError("strange"), Failed("ValueError: strange", kind="ValueError")),
    ],
    ids=lambda one: type(one).__name__,
)
def test_the_class_of_an_error_says_what_to_do(error: BaseException, ending: object) -> None:
    assert ending_of(error) == ending


@given(attempts=st.integers(0, 900), first=st.floats(0.001, 100), factor=st.floats(1, 10_000))
def test_the_wait_grows_and_never_exceeds_the_longest(attempts: int, first: float, factor: float) -> None:
    route = a_route(attempts=1_000, first_s=first, longest_s=first * factor)

    outcome, clock = foreseen(ValueError("x"), attempts=attempts, route=route)
    wait = outcome.next_at - clock.now()

    assert outcome.state == "retrying"
    assert wait <= timedelta(seconds=route.longest_s)
    exact = min(route.longest_s, first * 2.0 ** min(attempts, 62))
    assert abs(wait.total_seconds() - exact) < 1e-5 * exact + 1e-5


def test_the_last_attempt_parks_and_an_attempt_that_does_not_count_never_does() -> None:
    assert foreseen(ValueError("x"), attempts=3)[0].state == "retrying"
    assert foreseen(ValueError("x"), attempts=4)[0].state == "parked"
    assert foreseen(BusyError("429"), attempts=4)[0].state == "retrying"
    assert foreseen(PermanentError("x"))[0].state == "parked"


def test_who_waits_for_somebody_busy_parks_in_the_end() -> None:
    assert foreseen(BusyError("429"), late_s=BUSY_S_MAX - 1)[0].state == "retrying"
    parked = foreseen(BusyError("429"), late_s=BUSY_S_MAX)[0]
    assert (parked.state, parked.reason) == ("parked", "waited 259200 s in vain: 429")
    assert foreseen(BusyError("429", within_s=5), late_s=5)[0].state == "parked"
    assert foreseen(StoreUnavailableError("away"), late_s=BUSY_S_MAX)[0].state == "retrying"


def test_not_yet_waits_longer_the_longer_it_has_waited_and_looks_once_more_at_its_deadline() -> None:
    waits = []
    for late_s in (0, 10, 100, 1_000, 3_590):
        outcome, clock = foreseen(NotYet("x", within_s=3_600), late_s=late_s)
        assert outcome.state == "deferred"
        waits.append((outcome.next_at - clock.now()).total_seconds())

    assert waits == [1, 2.5, 25, 60, 10]
    assert foreseen(NotYet("x", within_s=3_600), late_s=3_600)[0].state == "parked"
    ended = foreseen(NotYet("x", within_s=3_600, on_deadline="too_late"), late_s=3_600)[0]
    assert (ended.state, ended.outcome) == ("done", "too_late")
    refused = foreseen(NotYet("x", within_s=3_600, on_deadline="unproven", refuses=True), late_s=3_600)[0]
    assert (refused.state, refused.outcome, refused.reason) == ("refused", "unproven", "waited 3600 s in vain: x")
