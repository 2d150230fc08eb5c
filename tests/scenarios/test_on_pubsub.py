"""The same scenarios with one setting changed: HUB_BROKER_URL is a project of Google Pub/Sub.

The tests are those of the other files, imported; only the hub that they get is another one. Left out are the two that
speak of what the embedded queues alone do: absorb a repeat, and carry a header of 100,000 characters.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hub.clock import Clock
from hub.operate.equation import check
from hub.transports.pubsub import PubSubTransport
from tests.scenarios.bank import ACCOUNTS, Bank
from tests.scenarios.test_loymax_forward import (  # noqa: F401 - collected here once more
    test_both_spellings_of_the_category_key_leave_as_ascii,
    test_delete_restore_delete_of_one_card_are_three_events_in_order,
    test_the_broken_merge_is_parked_with_its_place_and_forwarded_once_corrected,
    test_the_same_message_twice_is_forwarded_once,
    test_the_twelve_reach_the_platform_and_their_queues_byte_for_byte,
    test_unrelated_events_reach_only_the_queue_of_the_others,
)
from tests.scenarios.test_readme_tour import TOUR
from tests.scenarios.test_sepay_topup import (  # noqa: F401 - collected here once more
    test_a_top_up_from_the_request_to_the_balance,
    test_the_request_and_the_transfer_can_be_found_by_the_order_code,
)
from tests.support.clock import SettableClock
from tests.support.printed import STOP_S_MAX, daemon, free_port, run_as_printed
from tests.support.pubsub_server.server import PubSubServer, serving
from tests.support.running import PROJECT, RunningHub, environment, running

PROJECT_ID = "scenarios"


class OnPubSub(RunningHub):
    """A running hub whose queues lie in a server of Pub/Sub's protocol."""

    server: PubSubServer

    async def queue(self, name: str) -> list[Any]:
        """What was published to the subscription and not acknowledged, in order."""
        entries = self.server.state.subscription(f"projects/{PROJECT_ID}/subscriptions/{name}").entries.values()
        return [
            SimpleNamespace(
                routing_key=entry.message.attributes["routing_key"],
                message_id=entry.message.attributes["message_id"],
                payload=entry.message.data,
                headers=dict(entry.message.attributes),
            )
            for entry in entries
        ]


@asynccontextmanager
async def on_pubsub(
    folder: Path, database_url: str, monkeypatch: pytest.MonkeyPatch, *, clock: Clock | None = None, **more: str
) -> AsyncIterator[OnPubSub]:
    async with serving() as server:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.address)
        environ = environment(folder, database_url, HUB_BROKER_URL=f"pubsub://{PROJECT_ID}", **more)
        async with running(environ, clock=clock) as started:
            assert isinstance(started.hub.transport, PubSubTransport)
            hub = OnPubSub(started.hub, started.http)
            hub.server = server
            yield hub


@pytest.fixture
async def hub(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RunningHub]:
    async with on_pubsub(tmp_path, database_url, monkeypatch) as hub:
        yield hub
        assert (await check(hub.hub.store)).violations == ()


@pytest.fixture
async def bank(
    database_url: str, tmp_path: Path, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Bank]:
    async with on_pubsub(tmp_path, database_url, monkeypatch, clock=clock, SEPAY_ACCOUNTS=ACCOUNTS) as hub:
        bank = Bank(hub)
        yield bank
        await bank.settled()
        await bank.assert_no_money_appeared_or_vanished()


@pytest.mark.long
async def test_the_tour_works_as_printed(tmp_path: Path) -> None:
    """The README's commands, with one variable more."""
    async with serving() as server:
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "LANG": "C.UTF-8",
            "HUB_HOME": str(tmp_path / "var"),
            "HUB_PORT": str(free_port()),
            "HUB_BROKER_URL": f"pubsub://{PROJECT_ID}",
            "PUBSUB_EMULATOR_HOST": server.address,
        }

        await asyncio.to_thread(_take_the_tour, tmp_path, environ)

        assert server.requests("Publish")


def _take_the_tour(folder: Path, environ: Mapping[str, str]) -> None:
    with daemon(PROJECT, environ, folder / "hub.log") as hub:
        run_as_printed(TOUR, PROJECT, environ)
        hub.send_signal(signal.SIGTERM)
        assert hub.wait(STOP_S_MAX) == 0
