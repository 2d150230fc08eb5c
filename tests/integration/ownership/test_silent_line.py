"""The wire between processes over a line that falls silent: it is given up, and a new one is tried."""

from __future__ import annotations

import pytest
from sqlalchemy.engine import make_url
from structlog.testing import capture_logs

from hub.ownership import wakeups
from hub.ownership.holding import DELIVER
from hub.ownership.wakeups import Wakeups
from tests.support.patience import until
from tests.support.proxy import proxied


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_line_that_falls_silent_is_given_up(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wakeups, "SEND_S_MAX", 0.5)
    host, port = make_url(database_url).host or "", make_url(database_url).port or 5432
    async with proxied(host, port) as line:
        behind = make_url(database_url).set(host="127.0.0.1", port=line.port).render_as_string(hide_password=False)
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
