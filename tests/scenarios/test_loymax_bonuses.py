"""What purchases, refunds and merges of Loymax do to bonuses, with the amounts of its own examples."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from handlers.loyalty.books import OPENING, REDEEMED, REWARDS, bonus_account
from hub.event import LANES
from hub.ledger.read import list_accounts
from hub.operate.equation import check
from hub.operate.parked import list_parked
from hub.store import tables as t
from tests.scenarios.loymax import DATA, SMART_COMMUNICATIONS, accept
from tests.support.clock import SettableClock
from tests.support.running import RunningHub, environment, running, until

CURRENCY = "1f24174f-bfdb-4019-a3e7-4fb088b4a7a7"
PURCHASE_KEY, REFUND_KEY = "purchases.confirm.modelUpdate", "purchases.refundModelUpdate"
MERGE_KEY = "customer.profile.merge"
PURCHASE = (DATA / "purchase_confirm.json").read_bytes()
REFUND = (DATA / "purchase_refund.json").read_bytes()
MERGE = (DATA / "profile_merge.json").read_bytes()
EARNED, SPENT, AFTER_PURCHASE = 62_5100, 10_0000, 52_5100
"""Ten-thousandths of a bonus."""
RETURNED, TAKEN_BACK, AFTER_REFUND = 6_6700, 41_6700, 17_5100


@pytest.fixture
async def hub(database_url: str, tmp_path: Path, clock: SettableClock) -> AsyncIterator[RunningHub]:
    async with running(environment(tmp_path, database_url), clock=clock) as hub:
        yield hub
        await hub.settled()
        assert (await check(hub.hub.store)).violations == ()


async def test_a_purchase_earns_and_spends(hub: RunningHub) -> None:
    await accept(hub, PURCHASE_KEY, PURCHASE)

    await hub.settled()
    assert await balances(hub) == {member(107): AFTER_PURCHASE, REWARDS.code: EARNED, REDEEMED.code: SPENT}
    assert await told(hub) == [
        ("loyalty.bonus.accrued", "107", EARNED, EARNED),
        ("loyalty.bonus.redeemed", "107", SPENT, AFTER_PURCHASE),
    ]


async def test_a_refund_gives_back_and_takes_back(hub: RunningHub) -> None:
    await accept(hub, PURCHASE_KEY, PURCHASE)
    await accept(hub, REFUND_KEY, REFUND)

    await hub.settled()
    assert await balances(hub) == {
        member(107): AFTER_REFUND,
        REWARDS.code: EARNED - TAKEN_BACK,
        REDEEMED.code: SPENT - RETURNED,
    }
    assert (await told(hub))[-1] == ("loyalty.bonus.reversed", "107", RETURNED - TAKEN_BACK, AFTER_REFUND)


async def test_the_same_purchase_under_another_message_id_is_applied_once(hub: RunningHub) -> None:
    for message_id in ("m-1", "m-2", "m-1"):
        await accept(hub, PURCHASE_KEY, PURCHASE, message_id)

    await hub.settled()
    assert (await balances(hub))[member(107)] == AFTER_PURCHASE
    assert len(await hub.queue(SMART_COMMUNICATIONS)) == 2


async def test_a_refund_before_its_purchase_waits_and_then_applies(hub: RunningHub, clock: SettableClock) -> None:
    await accept(hub, REFUND_KEY, REFUND)
    # It waits alone: its customer's other events go on, and the refund itself has been forwarded.
    await accept(hub, "customer.card.changeBlockState", b'{"customerInfo": {"customerId": 107}}')
    await hub.settled()
    assert await balances(hub) == {}
    await comes_to(hub, "apply-refund", "deferred")
    assert len(await hub.queue(SMART_COMMUNICATIONS)) == 2

    await accept(hub, PURCHASE_KEY, PURCHASE)
    await hub.settled()
    clock.advance(60)
    await comes_to(hub, "apply-refund", "done")

    assert (await balances(hub))[member(107)] == AFTER_REFUND


async def test_a_refund_whose_purchase_never_comes_is_parked_with_that_reason(
    hub: RunningHub, clock: SettableClock
) -> None:
    await accept(hub, REFUND_KEY, REFUND)
    await hub.settled()

    clock.advance(25 * 3_600)

    await comes_to(hub, "apply-refund", "parked")
    [parked] = await list_parked(hub.hub.store)
    assert "purchase 512 has not come yet" in parked.reason
    assert (parked.route, parked.attempts) == ("apply-refund", 0)


async def test_a_merge_moves_the_balance_to_the_survivor(hub: RunningHub) -> None:
    await accept(hub, PURCHASE_KEY, purchase_of(13, id=600))
    await hub.settled()

    await accept(hub, MERGE_KEY, MERGE)

    await hub.settled()
    found = await balances(hub)
    assert (found[member(13)], found[member(11)]) == (0, AFTER_PURCHASE)
    assert (await told(hub))[-1] == ("loyalty.bonus.merged", "11", AFTER_PURCHASE, AFTER_PURCHASE)


async def test_what_comes_late_for_the_ceased_member_is_booked_under_the_survivor(hub: RunningHub) -> None:
    await accept(hub, MERGE_KEY, MERGE)
    await hub.settled()

    await accept(hub, PURCHASE_KEY, purchase_of(13, id=600))

    await hub.settled()
    found = await balances(hub)
    assert (member(13) in found, found[member(11)]) == (False, AFTER_PURCHASE)


async def test_bonuses_from_before_the_hub_s_time_are_opened_and_spent(hub: RunningHub) -> None:
    only_spent = purchase_of(107, id=512).replace(b"62.5100", b"2.5000").replace(b"41.6700", b"1.5000")
    await accept(hub, PURCHASE_KEY, only_spent.replace(b"20.8400", b"1.0000"))

    await hub.settled()
    found = await balances(hub)
    assert (found[member(107)], found[OPENING.code]) == (0, SPENT - 2_5000)


def purchase_of(customer: int, *, id: int) -> bytes:
    changed = PURCHASE.replace(b'"customerId":107', b'"customerId":%d' % customer)
    return changed.replace(b'"purchaseId":512', b'"purchaseId":%d' % id)


def member(number: int) -> str:
    return bonus_account(str(number), CURRENCY).code


async def balances(hub: RunningHub) -> dict[str, int]:
    async with hub.hub.store.reading() as conn:
        return {one.account.code: one.balance.amount_minor for one in await list_accounts(conn)}


async def told(hub: RunningHub) -> list[tuple[str, str, int, int]]:
    """What the loyalty platform was told: kind, member, amount, balance afterwards."""
    bodies = [json.loads(row.payload) for row in await hub.queue("loyalty.platform")]
    return [(one["kind"], one["member_id"], one["amount_minor"], one["balance_after_minor"]) for one in bodies]


async def comes_to(hub: RunningHub, route: str, state: str) -> None:
    """Wait until the only delivery of a route is in this state; the clock of these tests wakes nobody by itself."""

    async def has_come() -> bool:
        hub.hub.to_deliver.add(range(LANES))
        own = [row for row in await hub.rows(t.deliveries) if row.route_id == hub.hub.rules.route_ids[route]]
        return [row.state for row in own] == [state]

    await until(has_come)
