"""Money for a suspended wallet: held by the hub, released once when the wallet is active again."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from handlers.sepay.operating import activate, list_unmatched, suspend
from hub.api import HubApi
from hub.operate.review import list_reviews
from tests.scenarios.bank import WALLET_QUEUE, Bank, transfer


@pytest.fixture
async def held(bank: Bank) -> UUID:
    """The wallet's id; two transfers of 100,000 dong wait for it."""
    _, wallet = await bank.call("GET", "/wallet/")
    asked = [await bank.call("POST", "/wallet/topup/", {"amount": 100_000}) for _ in range(2)]
    await suspend(api(bank), "42", by="ann", reason="check")
    for id, (_, reply) in enumerate(asked, start=1):
        assert await bank.deliver(transfer(reply["transfer_content"], id=id)) == (200, {"success": True})
    await bank.settled()
    assert await bank.outcomes("settle-bank-transfer") == ["wallet_suspended"] * 2
    assert await bank.suspense() == 200_000
    return UUID(wallet["wallet_id"])


async def test_activating_the_wallet_releases_what_was_held(bank: Bank, held: UUID) -> None:
    wallet, released = await activate(api(bank), "42", by="ann", reason="fine")

    await bank.settled()
    assert (wallet.status, released) == ("active", 2)
    assert (await bank.wallet_balance(held), await bank.suspense()) == (200_000, 0)
    assert await bank.outcomes("release-held-transfer") == ["credited"] * 2
    assert await list_unmatched(api(bank), 10) == []
    assert await open_reviews(bank) == []
    assert sorted(one["balance_after"] for one in await bank.messages(WALLET_QUEUE)) == [100_000, 200_000]


async def test_activating_twice_releases_once(bank: Bank, held: UUID) -> None:
    await activate(api(bank), "42", by="ann", reason="fine")
    await bank.settled()
    _, released = await activate(api(bank), "42", by="ann", reason="again")

    await bank.settled()
    assert released == 0
    await assert_released_once(bank, held)


async def test_activating_several_times_at_once_releases_once(bank: Bank, held: UUID) -> None:
    await asyncio.gather(*(activate(api(bank), "42", by=f"operator {n}", reason="fine") for n in range(6)))

    await bank.settled()
    await assert_released_once(bank, held)


async def test_a_wallet_that_is_suspended_again_keeps_its_money_in_suspense(bank: Bank, held: UUID) -> None:
    await activate(api(bank), "42", by="ann", reason="fine")
    await suspend(api(bank), "42", by="ann", reason="no, not fine")
    await bank.settled()
    assert await bank.wallet_balance(held) + await bank.suspense() == 200_000
    assert len(await open_reviews(bank)) == await bank.suspense() // 100_000

    await activate(api(bank), "42", by="ann", reason="fine after all")

    await bank.settled()
    await assert_released_once(bank, held)


async def test_a_repeat_of_the_webhook_after_the_release_changes_nothing(bank: Bank, held: UUID) -> None:
    await activate(api(bank), "42", by="ann", reason="fine")
    await bank.settled()
    original = next(row.payload for row in await bank.rows_of_source("sepay"))

    assert await bank.deliver(original) == (200, {"success": True})

    await bank.settled()
    await assert_released_once(bank, held)


def api(bank: Bank) -> HubApi:
    return bank.running.hub.api


async def open_reviews(bank: Bank) -> list[str]:
    return [review.outcome for review in await list_reviews(api(bank).store)]


async def assert_released_once(bank: Bank, wallet_id: UUID) -> None:
    assert (await bank.wallet_balance(wallet_id), await bank.suspense()) == (200_000, 0)
    assert (await bank.outcomes("release-held-transfer")).count("credited") == 2
    assert len(await bank.messages(WALLET_QUEUE)) == 2
    assert await open_reviews(bank) == []
