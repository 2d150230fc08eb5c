"""One hub for all that only looks, and visitors of each role."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from argon2 import PasswordHasher

from hub.console import people
from tests.browser.stage import staged
from tests.support.databases import Databases
from tests.support.running import RunningHub


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes guessing dear makes tests dear, too."""
    hasher = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    monkeypatch.setattr(people, "_hasher", lambda: hasher)
    people._dummy.cache_clear()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory, databases: Databases) -> AsyncIterator[RunningHub]:
    """A hub with its history."""
    address = await databases.fresh("sqlite")
    async with staged(tmp_path_factory.mktemp("console"), address) as hub:
        yield hub
    await databases.drop(address)
