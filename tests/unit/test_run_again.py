"""What stood in another transaction's way is run again, with a wait of its own, and not for ever."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy.exc import DBAPIError

from hub.errors import StoreUnavailableError
from hub.store import store
from hub.store.store import RERUNS_MAX, run_again


class Refused(Exception):
    """A driver's error, with the server's word for it."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__("refused")
        self.sqlstate = sqlstate


class Work:
    """Is refused a number of times, and then answers how often it ran."""

    def __init__(self, times: int, sqlstate: str = "40P01") -> None:
        self.runs = 0
        self._times = times
        self._sqlstate = sqlstate

    async def __call__(self) -> int:
        """Run once."""
        self.runs += 1
        if self.runs <= self._times:
            raise DBAPIError("SELECT 1", None, Refused(self._sqlstate))
        return self.runs


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long it waited each time, without waiting."""
    waited: list[float] = []

    async def sleep(delay_s: float) -> None:
        waited.append(delay_s)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return waited


@pytest.mark.parametrize("sqlstate", ["40P01", "40001"])
async def test_a_deadlock_is_run_again_after_ever_longer_waits_of_its_own(waits: list[float], sqlstate: str) -> None:
    assert await run_again(Work(3, sqlstate)) == 4

    # Two that met would meet again if both waited for the same time.
    longest = [store.RERUN_DELAY_S * 2**rerun for rerun in range(3)]
    assert all(most / 2 <= waited <= most for waited, most in zip(waits, longest, strict=True))


async def test_it_is_given_up_in_the_end() -> None:
    work = Work(100)

    with pytest.raises(StoreUnavailableError, match="refused"):
        await run_again(work)

    assert work.runs == RERUNS_MAX


async def test_what_is_wrong_with_the_statement_is_not_run_again() -> None:
    work = Work(1, "42601")

    with pytest.raises(DBAPIError):
        await run_again(work)

    assert work.runs == 1
