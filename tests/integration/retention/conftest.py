"""A desk with old events, an archive in a folder, and a pruner."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.storage import Storage, StoragePlace
from hub.store.store import Store
from tests.integration.operate.desk import COPY, NOTE, Desk
from tests.integration.retention.archivist import Archivist
from tests.support.clock import SettableClock


@pytest.fixture
async def desk(store: Store, clock: SettableClock) -> Desk:
    made = Desk(store, clock)
    await made.use(NOTE, COPY)
    return made


@pytest.fixture
def archivist(desk: Desk, tmp_path: Path) -> Archivist:
    return Archivist(desk, tmp_path / "archive", Storage(StoragePlace(place=str(tmp_path / "archive"))))
