"""The same scenarios with one setting changed: HUB_BROKER_URL is a virtual host of a real RabbitMQ.

The tests are those of the other files, imported; only the hub that they get is another one. Left out are those that
speak of what the embedded queues alone do: absorb a repeat, and carry a header of 100,000 characters.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hub.clock import Clock
from hub.operate.equation import check
from hub.transports import QueueReader, topology_of
from tests.scenarios.bank import ACCOUNTS, Bank
from tests.scenarios.test_loymax_forward import (  # noqa: F401 - collected here once more
    test_an_upstream_s_own_retry_is_recognised_without_a_message_id,
    test_both_spellings_of_the_category_key_leave_as_ascii,
    test_delete_restore_delete_of_one_card_are_three_events_in_order,
    test_the_broken_merge_is_parked_with_its_place_and_forwarded_once_corrected,
    test_the_same_message_twice_is_forwarded_once,
    test_the_twelve_reach_the_platform_and_their_queues_byte_for_byte,
    test_unrelated_events_reach_only_the_queue_of_the_others,
)
from tests.scenarios.test_sepay_topup import (  # noqa: F401 - collected here once more
    test_a_top_up_from_the_request_to_the_balance,
    test_the_request_and_the_transfer_can_be_found_by_the_order_code,
)
from tests.support.clock import SettableClock
from tests.support.rabbit import own_vhost, remove
from tests.support.running import RunningHub, environment, running

MESSAGES_MAX = 1_000


@pytest.fixture(scope="module")
def vhost() -> Iterator[str]:
    with own_vhost() as address:
        yield address


class OnRabbit(RunningHub):
    """A running hub whose queues lie at the broker."""

    async def queue(self, name: str) -> list[Any]:
        """What lies in the queue, in order: held by the hub's own reader, which nobody competes with here."""
        reader = self.hub.transport
        assert isinstance(reader, QueueReader)
        return list(await reader.queue_read(name, limit=MESSAGES_MAX))


@asynccontextmanager
async def on_rabbit(
    folder: Path, database_url: str, vhost: str, *, clock: Clock | None = None, **more: str
) -> AsyncIterator[OnRabbit]:
    environ = environment(folder, database_url, HUB_BROKER_URL=vhost, **more)
    async with running(environ, clock=clock) as started:
        yield OnRabbit(started.hub, started.http)
        topology = topology_of(started.hub.wiring.config)
    await remove(vhost, [topology])


@pytest.fixture
async def hub(database_url: str, tmp_path: Path, vhost: str) -> AsyncIterator[RunningHub]:
    async with on_rabbit(tmp_path, database_url, vhost) as hub:
        yield hub
        assert (await check(hub.hub.store)).violations == ()


@pytest.fixture
async def bank(database_url: str, tmp_path: Path, clock: SettableClock, vhost: str) -> AsyncIterator[Bank]:
    async with on_rabbit(tmp_path, database_url, vhost, clock=clock, SEPAY_ACCOUNTS=ACCOUNTS) as hub:
        bank = Bank(hub)
        yield bank
        await bank.settled()
        await bank.assert_no_money_appeared_or_vanished()
