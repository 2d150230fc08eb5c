"""A desk with the wallet's tables and one receiving account, on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from handlers.sepay.accounts import ReceivingAccount
from handlers.sepay.settings import SepaySettings
from handlers.sepay.tables import metadata
from tests.unit.sepay.desk import Desk, open_desk

ACCOUNT = ReceivingAccount(bank_code="BIDV", account_number="8880000001", va="96247TEST1")


def wallet_settings(**values: object) -> SepaySettings:
    return SepaySettings.model_validate({"accounts": (ACCOUNT,), "intents_per_minute_max": 0, **values})


@pytest.fixture(params=["sqlite", "postgresql"])
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_desk(request.param, tmp_path, wallet_settings(), metadata) as desk:
        yield desk
