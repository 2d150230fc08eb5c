"""A desk with two routes on a fresh database of either kind."""

from __future__ import annotations

import pytest

from hub.store.store import Store
from tests.integration.operate.desk import COPY, NOTE, Desk
from tests.support.clock import SettableClock


@pytest.fixture
async def desk(store: Store, clock: SettableClock) -> Desk:
    made = Desk(store, clock)
    await made.use(NOTE, COPY)
    return made
