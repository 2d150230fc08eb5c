"""What purchases, refunds and merges do to a member's bonuses."""

from __future__ import annotations

import asyncio
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from handlers.loyalty import capability
from handlers.loyalty.books import OPENING, REDEEMED, REWARDS, bonus_account, debt_account
from hub.errors import NotYet, PermanentError
from hub.jsonbody import parse_json
from tests.unit.sepay.desk import Caused, Desk, as_json

DATA = Path(__file__).parents[2] / "data/loymax"
CURRENCY = "1f24174f-bfdb-4019-a3e7-4fb088b4a7a7"
PURCHASE: dict[str, Any] = parse_json((DATA / "purchase_confirm.json").read_bytes())
REFUND: dict[str, Any] = parse_json((DATA / "purchase_refund.json").read_bytes())
MERGE: dict[str, Any] = parse_json((DATA / "profile_merge.json").read_bytes())


def purchase(
    *, id: int = 512, member: int = 107, rewarded: object = None, withdrawn: object = None, currency: str = CURRENCY
) -> dict[str, Any]:
    body = deepcopy(PURCHASE)
    cheque = body["purchaseOperationInfo"]["purchaseData"]
    body["customerInfo"]["customerId"] = member
    cheque["purchaseId"] = id
    if rewarded is not None or withdrawn is not None:
        cheque["rewards"] = [bonus_line("rewardType", rewarded, currency)] if rewarded else []
        cheque["withdraws"] = [bonus_line("withdrawType", withdrawn, currency)] if withdrawn else []
    return body


def bonus_line(type_: str, amount: object, currency: str) -> dict[str, object]:
    return {type_: "Bonus", "amount": amount, "positionInfo": {"1": amount}, "currencyExternalId": currency}


def refund(
    *, id: int = 513, of: int = 512, member: int = 107, rewarded: object = None, withdrawn: object = None
) -> dict[str, Any]:
    body = deepcopy(REFUND)
    cheque = body["refundOperationInfo"]["purchaseData"]
    body["customerInfo"]["customerId"] = member
    body["refundedPurchaseViewModel"] = {"refundedPurchaseId": of}
    cheque["purchaseId"] = id
    if rewarded is not None or withdrawn is not None:
        cheque["rewards"] = [bonus_line("rewardType", rewarded, CURRENCY)] if rewarded else []
        cheque["withdraws"] = [bonus_line("withdrawType", withdrawn, CURRENCY)] if withdrawn else []
    return body


def merge(ceased: int, survivor: int) -> dict[str, Any]:
    body = deepcopy(MERGE)
    body["fromCustomerInfo"]["customerId"], body["toCustomerInfo"]["customerId"] = ceased, survivor
    return body


async def apply(desk: Desk, name: str, body: dict[str, Any], **options: object) -> Caused:
    return await desk.run(capability.handlers[f"apply_{name}"], body, options=options)


async def balance(desk: Desk, member: int, currency: str = CURRENCY) -> int:
    return await desk.balance(bonus_account(str(member), currency))


async def test_a_purchase_credits_what_it_earned_before_it_debits_what_it_spent(desk: Desk) -> None:
    caused = await apply(desk, "purchase", PURCHASE)

    assert await balance(desk, 107) == 52_51_00
    assert await desk.balance(OPENING) == 0
    assert (await desk.balance(REWARDS), await desk.balance(REDEEMED)) == (62_51_00, 10_00_00)
    accrued, redeemed = (as_json(message) for _, message in caused.published)
    assert [kind for kind, _ in caused.published] == ["loyalty.bonus.accrued", "loyalty.bonus.redeemed"]
    assert (accrued["amount_minor"], accrued["balance_after_minor"]) == (62_51_00, 62_51_00)
    assert (redeemed["amount_minor"], redeemed["balance_after_minor"]) == (10_00_00, 52_51_00)
    assert accrued["reference"] == redeemed["reference"] == "loymax:purchase:512"
    assert (accrued["member_id"], accrued["currency"], accrued["source"]) == ("107", "BONUS", "loymax")


async def test_a_discount_moves_no_bonuses(desk: Desk) -> None:
    body = purchase()
    cheque = body["purchaseOperationInfo"]["purchaseData"]
    cheque["rewards"], cheque["withdraws"] = [r for r in cheque["rewards"] if r["rewardType"] == "Discount"], None

    caused = await apply(desk, "purchase", body)

    assert caused.outcome == "no_bonuses"
    assert caused.published == []


async def test_a_purchase_that_comes_twice_is_applied_once(desk: Desk) -> None:
    await apply(desk, "purchase", PURCHASE)

    caused = await apply(desk, "purchase", PURCHASE)

    assert caused.outcome == "already_applied"
    assert await balance(desk, 107) == 52_51_00


async def test_bonuses_from_before_our_time_come_from_the_opening_account(desk: Desk) -> None:
    caused = await apply(desk, "purchase", purchase(withdrawn=-30, rewarded=4))

    assert await balance(desk, 107) == 0
    assert await desk.balance(OPENING) == 26_00_00
    assert ("loymax_opening", "512") in caused.tags
    assert caused.review is None


async def test_the_sign_of_an_amount_says_nothing(desk: Desk) -> None:
    await apply(desk, "purchase", purchase(rewarded=-7, withdrawn=2))

    assert await balance(desk, 107) == 5_00_00


async def test_each_bonus_currency_has_an_account_of_its_own(desk: Desk) -> None:
    await apply(desk, "purchase", purchase(id=1, rewarded=5))
    await apply(desk, "purchase", purchase(id=2, rewarded=3, currency="other"))

    assert (await balance(desk, 107), await balance(desk, 107, "other")) == (5_00_00, 3_00_00)


async def test_positions_that_do_not_add_up_are_a_warning(desk: Desk) -> None:
    body = purchase(rewarded=5)
    body["purchaseOperationInfo"]["purchaseData"]["rewards"][0]["positionInfo"] = {"1": 4}

    caused = await apply(desk, "purchase", body)

    assert caused.review is None
    assert await balance(desk, 107) == 5_00_00


async def test_a_line_of_bonuses_without_a_currency_parks(desk: Desk) -> None:
    body = purchase(rewarded=5)
    body["purchaseOperationInfo"]["purchaseData"]["rewards"][0]["currencyExternalId"] = None

    with pytest.raises(PermanentError, match="names no currency"):
        await apply(desk, "purchase", body)


async def test_a_refund_gives_back_what_was_spent_and_takes_back_what_was_earned(desk: Desk) -> None:
    await apply(desk, "purchase", PURCHASE)

    caused = await apply(desk, "refund", REFUND)

    assert await balance(desk, 107) == 52_51_00 + 6_67_00 - 41_67_00
    message = as_json(caused.one("loyalty.bonus.reversed"))
    assert message["amount_minor"] == 6_67_00 - 41_67_00
    assert message["balance_after_minor"] == 17_51_00
    assert caused.review is None


async def test_a_refund_that_comes_twice_is_applied_once(desk: Desk) -> None:
    await apply(desk, "purchase", PURCHASE)
    await apply(desk, "refund", REFUND)

    caused = await apply(desk, "refund", REFUND)

    assert caused.outcome == "already_applied"
    assert await balance(desk, 107) == 17_51_00


async def test_a_refund_before_its_purchase_waits(desk: Desk) -> None:
    with pytest.raises(NotYet, match="purchase 512 has not come yet"):
        await apply(desk, "refund", REFUND)

    await apply(desk, "purchase", PURCHASE)
    await apply(desk, "refund", REFUND)
    assert await balance(desk, 107) == 17_51_00


async def test_a_purchase_is_found_by_the_till_s_id_where_loymax_gives_none(desk: Desk) -> None:
    await apply(desk, "purchase", PURCHASE)
    body = refund(rewarded=1)
    body["refundedPurchaseViewModel"] = {"refundedPurchaseId": None, "refundedPurchaseExternalId": "5226324048"}

    await apply(desk, "refund", body)

    assert await balance(desk, 107) == 51_51_00


async def test_refunds_never_move_more_than_the_purchase_moved(desk: Desk) -> None:
    await apply(desk, "purchase", purchase(id=1, rewarded=100))
    await apply(desk, "purchase", purchase(id=2, rewarded=10))
    await apply(desk, "refund", refund(id=3, of=2, rewarded=7))

    caused = await apply(desk, "refund", refund(id=4, of=2, rewarded=7))

    assert await balance(desk, 107) == 100_00_00
    assert caused.outcome == "refund_exceeds_purchase"
    assert caused.review is not None
    assert "4.0000 BONUS more" in caused.review[1]


async def test_a_refund_of_another_currency_moves_nothing(desk: Desk) -> None:
    await apply(desk, "purchase", purchase(rewarded=10, currency="other"))

    caused = await apply(desk, "refund", refund(rewarded=10))

    assert caused.outcome == "refund_exceeds_purchase"
    assert await balance(desk, 107, "other") == 10_00_00


async def test_bonuses_that_were_spent_meanwhile_are_not_taken_below_zero(desk: Desk) -> None:
    await apply(desk, "purchase", purchase(id=1, rewarded=10))
    await apply(desk, "purchase", purchase(id=2, withdrawn=8))

    caused = await apply(desk, "refund", refund(of=1, rewarded=10))

    assert await balance(desk, 107) == 0
    assert caused.outcome == "bonuses_already_spent"
    assert await desk.balance(debt_account("107", CURRENCY)) == 0


async def test_with_an_overdraft_they_become_a_debt(desk: Desk) -> None:
    await apply(desk, "purchase", purchase(id=1, rewarded=10))
    await apply(desk, "purchase", purchase(id=2, withdrawn=8))

    caused = await apply(desk, "refund", refund(of=1, rewarded=10), overdraft=True)

    assert await balance(desk, 107) == 0
    assert await desk.balance(debt_account("107", CURRENCY)) == 8_00_00
    assert caused.review is None


async def test_a_merge_moves_balance_and_debt_in_one_entry(desk: Desk) -> None:
    await apply(desk, "purchase", purchase(id=1, member=13, rewarded=10))
    await apply(desk, "purchase", purchase(id=2, member=13, withdrawn=8))
    await apply(desk, "refund", refund(of=1, member=13, rewarded=10), overdraft=True)
    await apply(desk, "purchase", purchase(id=3, member=13, rewarded=5))
    await apply(desk, "purchase", purchase(id=4, member=11, rewarded=1))

    caused = await apply(desk, "merge", merge(13, 11))

    assert (await balance(desk, 13), await balance(desk, 11)) == (0, 6_00_00)
    assert await desk.balance(debt_account("13", CURRENCY)) == 0
    assert await desk.balance(debt_account("11", CURRENCY)) == 8_00_00
    message = as_json(caused.one("loyalty.bonus.merged"))
    assert (message["member_id"], message["other_member_id"]) == ("11", "13")
    assert (message["amount_minor"], message["balance_after_minor"]) == (5_00_00, 6_00_00)


async def test_late_events_of_a_merged_member_are_booked_under_the_survivor_of_all_merges(desk: Desk) -> None:
    await apply(desk, "purchase", purchase(id=1, member=13, rewarded=10))
    await apply(desk, "merge", merge(13, 11))
    await apply(desk, "merge", merge(11, 9))

    await apply(desk, "purchase", purchase(id=2, member=13, rewarded=1))
    await apply(desk, "refund", refund(of=1, member=13, rewarded=4))

    assert (await balance(desk, 13), await balance(desk, 11), await balance(desk, 9)) == (0, 0, 7_00_00)


async def test_a_merge_that_comes_twice_moves_nothing_more(desk: Desk) -> None:
    await apply(desk, "purchase", purchase(member=13, rewarded=10))
    await apply(desk, "merge", merge(13, 11))

    caused = await apply(desk, "merge", merge(13, 11))

    assert caused.outcome == "already_merged"
    assert await balance(desk, 11) == 10_00_00


@pytest.mark.parametrize(("ceased", "survivor"), [(13, 7), (11, 13), (11, 11)])
async def test_a_merge_that_contradicts_an_earlier_one_goes_to_a_person(desk: Desk, ceased: int, survivor: int) -> None:
    await apply(desk, "merge", merge(13, 11))

    caused = await apply(desk, "merge", merge(ceased, survivor))

    assert caused.outcome == "merge_conflict"


async def test_a_refund_by_another_member_parks(desk: Desk) -> None:
    await apply(desk, "purchase", PURCHASE)

    with pytest.raises(PermanentError, match="another member"):
        await apply(desk, "refund", refund(member=1, rewarded=1))


async def test_a_purchase_that_meets_the_merge_of_its_member_is_never_left_behind(desk: Desk) -> None:
    await apply(desk, "purchase", purchase(id=1, member=13, rewarded=1))
    purchases = [apply(desk, "purchase", purchase(id=id, member=13, rewarded=1)) for id in range(2, 10)]

    await asyncio.gather(*purchases[:4], apply(desk, "merge", merge(13, 11)), *purchases[4:])

    assert (await balance(desk, 13), await balance(desk, 11)) == (0, 9_00_00)


async def test_refunds_at_once_share_what_the_purchase_moved(desk: Desk) -> None:
    await apply(desk, "purchase", purchase(id=1, rewarded=100))
    await apply(desk, "purchase", purchase(id=2, rewarded=10))

    await asyncio.gather(*(apply(desk, "refund", refund(id=id, of=2, rewarded=4)) for id in range(3, 8)))

    assert await balance(desk, 107) == 100_00_00
