"""A hub that runs seals what it does, tells of its head, and leaves the place to others when it stops."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import select

from hub.errors import ConfigError
from hub.inbox.received import Received
from hub.seal import tables as s
from hub.seal.verifying import verify_seal
from hub.settings import load_settings
from hub.store.store import Store
from tests.support.running import environment, running, until


async def test_a_running_hub_seals(tmp_path: Path) -> None:
    environ = environment(tmp_path, HUB_SEAL="0.1s")
    async with running(environ, roles=("worker", "relay", "scheduler")) as hub:
        body = b'{"customerInfo": {"customerId": 7}}'
        message = Received(source="loymax", body=body, routing_key="customer.card.link", message_id="m-1")
        await hub.hub.acceptor.accept(message)
        await hub.settled()

        async def is_sealed() -> bool:
            report = await verify_seal(hub.hub.store)
            assert report.findings == []
            return report.blocks > 0 and not sum(report.unsealed.values())

        await until(is_sealed, "a block over everything")
        head = (await hub.rows(s.state))[0]
        assert head.holder is not None
        # Told once the block is committed, which was seen at the same moment.
        await until(lambda: REGISTRY.get_sample_value("hub_seal_head_number") == head.number)
        assert REGISTRY.get_sample_value("hub_seal_head_hash48") == int(head.hash.hex()[:12], 16)
    store = Store.open(f"sqlite+aiosqlite:///{tmp_path / 'hub.db'}")
    async with store.reading() as conn:
        assert await conn.scalar(select(s.state.c.holder)) is None
    await store.close()


@pytest.mark.parametrize("wrong", ["0.01s", "2h", "often", "0"])
def test_an_interval_that_is_none_is_refused(wrong: str) -> None:
    assert load_settings({"HUB_SEAL": "off"}).seal_s is None
    assert load_settings({}).seal_s == 1.0
    with pytest.raises(ConfigError, match="HUB_SEAL"):
        load_settings({"HUB_SEAL": wrong})
