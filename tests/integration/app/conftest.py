"""A running hub of the shop, on either database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hub.operate.equation import check
from tests.integration.app.shop import shop_environment
from tests.support.running import RunningHub, running

BUSY_TIMEOUT_S = "0.3"


@pytest.fixture
async def hub(database_url: str, tmp_path: Path) -> AsyncIterator[RunningHub]:
    """Whatever a test does to it: in the end all of its loops run, and everything is accounted for."""
    environ = shop_environment(tmp_path, database_url, HUB_DATABASE_BUSY_TIMEOUT_S=BUSY_TIMEOUT_S)
    async with running(environ) as hub:
        yield hub
        assert not hub.hub.failed.is_set()
        assert (await check(hub.hub.store)).violations == ()
