"""A database that answers and takes no writes is not ready."""

from __future__ import annotations

import os

import pytest

from hub.store.health import check_database
from hub.store.store import Store
from tests.support.servers import administer


async def test_a_database_that_can_be_written_to_is_ready(store: Store) -> None:
    checked = await check_database(store)

    assert (checked.ok, checked.detail) == (True, store.dialect)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_server_that_takes_no_writes_is_not_ready(store: Store) -> None:
    await administer(f"ALTER DATABASE {store.writer.url.database} SET default_transaction_read_only = on")

    checked = await check_database(store)

    assert (checked.ok, checked.detail) == (False, "read-only by its settings")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_file_that_takes_no_writes_is_not_ready(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    # Tests may run as root, who may write to everything.
    monkeypatch.setattr(os, "access", lambda path, mode: not (path == store.writer.url.database and mode == os.W_OK))

    checked = await check_database(store)

    assert (checked.ok, checked.detail) == (False, "its file cannot be written to")


async def test_a_database_that_is_away_is_not_ready() -> None:
    store = Store.open("postgresql+asyncpg://nobody@127.0.0.1:1/none")
    try:
        assert not (await check_database(store)).ok
    finally:
        await store.close()
