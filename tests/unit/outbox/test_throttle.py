"""What each destination takes now, whichever of the others stand still."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from hub.flow.flow import Flow
from hub.flow.pauses import Pause
from hub.outbox.throttle import LOOK_S_MIN, PAUSED_LOOK_S, Throttle
from hub.ownership.holding import Holding
from hub.routing.config import DestinationConfig
from tests.support.clock import SettableClock


class Pauses:
    """The pauses of a test, in place of those of a database."""

    def __init__(self, **paused: Any) -> None:
        self._paused = paused

    def pause_of(self, _kind: str, name: str) -> Pause | None:
        return cast(Pause | None, self._paused.get(name))

    def is_half_open(self, _kind: str, name: str) -> bool:
        return name == "tried"


def throttle(**paused: Any) -> Throttle:
    return Throttle(cast(Flow, Pauses(**paused)), SettableClock(), cast(Holding, SimpleNamespace(workers=1)))


def pause(left_s: float | None) -> Any:
    return SimpleNamespace(left_s=lambda _now: left_s)


def to(**more: Any) -> DestinationConfig:
    return DestinationConfig.model_validate({"queue": "q", **more})


@pytest.mark.parametrize(
    ("left_s", "look_s"), [(None, PAUSED_LOOK_S), (60.0, PAUSED_LOOK_S), (2.0, 2.0), (0.01, LOOK_S_MIN)]
)
def test_what_stands_still_takes_nothing_and_is_looked_at_again_in_time(left_s: float | None, look_s: float) -> None:
    rooms = throttle(still=pause(left_s)).rooms({"still": to()})

    assert (rooms.closed, rooms.look_s("still")) == (("still",), look_s)


def test_what_stands_still_is_in_nobody_s_way() -> None:
    names = {"still": to(), "tried": to(), "paced": to(rate={"per_second": 10, "burst": 3}), "free": to()}

    rooms = throttle(still=pause(None)).rooms(names)

    assert {name: rooms.of(name, config) for name, config in names.items()} == {
        "still": 0, "tried": 1, "paced": 3, "free": to().max_in_flight,
    }  # fmt: skip
    assert [name for name in names if rooms.is_bound(name)] == ["still", "tried", "paced"]
    assert rooms.look_s("tried") == LOOK_S_MIN
