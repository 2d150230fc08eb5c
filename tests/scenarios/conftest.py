"""A running hub with a bank, on either database, under a clock that stands still."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.scenarios.bank import ACCOUNTS, Bank
from tests.scenarios.shop import LIFETIME_PRICE, PRICE, Shop
from tests.support.clock import SettableClock
from tests.support.published import strange_messages
from tests.support.running import environment, running

NOW = datetime(2024, 11, 15, 2, 35, 5, tzinfo=UTC)


@pytest.fixture
def clock() -> SettableClock:
    """Stands at the time of the published cases until it is moved."""
    return SettableClock(NOW)


@pytest.fixture
async def bank(database_url: str, tmp_path: Path, clock: SettableClock) -> AsyncIterator[Bank]:
    """A hub that receives transfers; whatever a test does, no money may have appeared or vanished in the end."""
    environ = environment(
        tmp_path,
        database_url,
        # Without a token nobody polls the statement: there is none to poll.
        HUB_SANDBOX="0",
        SEPAY_ACCOUNTS=ACCOUNTS,
        SEPAY_INTENTS_PER_MINUTE_MAX="10",
        HUB_DATABASE_BUSY_TIMEOUT_S="0.3",
    )
    async with running(environ, clock=clock) as hub:
        bank = Bank(hub)
        yield bank
        await bank.settled()
        await bank.assert_no_money_appeared_or_vanished()
        assert await strange_messages(hub) == []


@pytest.fixture
async def shop(bank: Bank) -> Shop:
    """A hub whose catalogue sells symbol 1 for 30 days or for ever."""
    shop = Shop(bank)
    await shop.sells(PRICE, 30)
    await shop.sells(LIFETIME_PRICE, None)
    return shop
