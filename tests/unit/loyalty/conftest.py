"""A desk with the loyalty tables, on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from handlers.loyalty.tables import metadata
from tests.unit.sepay.desk import Desk, open_desk


@pytest.fixture(params=["sqlite", "postgresql"])
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_desk(request.param, tmp_path, None, metadata) as desk:
        yield desk
