"""A line to the database that falls silent: the wire between processes gives it up, and so does one that ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy.engine import make_url
from structlog.testing import capture_logs

from hub.errors import StoreUnavailableError
from hub.ownership import member, wakeups
from hub.ownership.holding import DELIVER
from hub.ownership.wakeups import Wakeups
from hub.store import engines
from hub.store.store import Store
from tests.support.clock import SettableClock
from tests.support.owning import joined
from tests.support.patience import until
from tests.support.proxy import Proxy, proxied


@asynccontextmanager
async def line_to(database_url: str) -> AsyncIterator[tuple[Proxy, str]]:
    """A line to this database, and the address at its near end."""
    url = make_url(database_url)
    async with proxied(url.host or "", url.port or 5432) as line:
        yield line, url.set(host="127.0.0.1", port=line.port).render_as_string(hide_password=False)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("way", ["in order", "after an error"])
async def test_a_process_that_ends_does_not_wait_for_a_silent_database(
    database_url: str, clock: SettableClock, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(engines, "COMMAND_TIMEOUT_S", 3_600.0)
    monkeypatch.setattr(member, "LEAVE_S_MAX", 0.2)
    async with line_to(database_url) as (line, behind):
        store = Store.open(behind)
        one = await joined(store, clock)
        line.stall()

        with pytest.raises(StoreUnavailableError):
            await (one.leave() if way == "in order" else one.walk_out())

        line.cut()
        line.resume()
        await store.close()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_line_that_falls_silent_is_given_up(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wakeups, "SEND_S_MAX", 0.5)
    async with line_to(database_url) as (line, behind):
        wire = Wakeups(behind, hear=lambda kind, lanes: None, look_soon=lambda: None)
        wire.start()
        try:
            await until(lambda: wire.is_listening)
            line.stall()

            with capture_logs() as said:
                wire.tell(DELIVER, [1])

                # Neither the telling nor the taking leave may wait for ever.
                await until(lambda: any(one["event"] == "wakeups_lost" for one in said))
            line.cut()
            line.resume()
            await until(lambda: wire.is_listening)
        finally:
            await wire.close()
