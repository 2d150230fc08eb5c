"""The search for the delivery at fault runs all the others, in their order, and refuses only that one."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.deliver.batch import FlushError
from hub.deliver.halving import Unwritable, run_all_but_the_culprits
from tests.unit.deliver.test_endings import a_work

COUNT = 40


class Database:
    """Takes no transaction with one of these; it may say which one it was."""

    def __init__(self, culprits: Collection[int], *, says_which: bool) -> None:
        self._culprits = culprits
        self._says_which = says_which
        self.run_ids: list[int] = []
        self.refused: list[int] = []

    async def run(self, ids: Sequence[int], refused: FlushError | None) -> Unwritable | None:
        if refused is not None:
            self.refused += ids
            return None
        fault = self.fault(ids)
        if fault is None:
            self.run_ids += ids
        return fault

    def fault(self, ids: Sequence[int]) -> Unwritable | None:
        for one in ids:
            if one in self._culprits:
                return Unwritable(ids, FlushError(ValueError("no"), a_work(id=one) if self._says_which else None))
        return None


@given(culprits=st.sets(st.integers(0, COUNT - 1), min_size=1), says_which=st.booleans())
async def test_all_but_those_at_fault_run_in_their_order(culprits: set[int], says_which: bool) -> None:
    database = Database(culprits, says_which=says_which)
    fault = database.fault(range(COUNT))
    assert fault is not None

    await run_all_but_the_culprits(database.run, fault)

    assert database.refused == sorted(culprits)
    assert database.run_ids == [one for one in range(COUNT) if one not in culprits]


async def test_what_cannot_even_be_refused_ends_the_search() -> None:
    async def run(ids: Sequence[int], refused: FlushError | None) -> Unwritable | None:
        raise FlushError(ValueError("no"))

    with pytest.raises(FlushError):
        await run_all_but_the_culprits(run, Unwritable([1], FlushError(ValueError("no"))))
