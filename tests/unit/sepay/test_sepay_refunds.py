"""Orders that are given back, and licences that an operator suspends, restores or revokes."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest

from handlers.sepay.adjusting import refund_order, refund_to_wallet
from handlers.sepay.books import SALES
from handlers.sepay.license_desk import restore_license, revoke_license, suspend_license
from handlers.sepay.tables_licenses import PayUserSymbolLicense
from hub.errors import RefusedCommand
from tests.unit.sepay.bench import USER, wallet_balance
from tests.unit.sepay.desk import Caused, Desk
from tests.unit.sepay.shop_bench import (
    ITEM,
    PRICE,
    RENEWING,
    fund,
    only_license,
    order,
    order_of,
    stock,
    subscriptions,
)

WHY = {"by": "ann", "note": "bought by mistake"}


async def refuses(desk: Desk, spec: object, fields: dict[str, object]) -> str:
    with pytest.raises(RefusedCommand) as refused:
        await desk.run(spec, {**WHY, **fields})  # type: ignore[arg-type]
    return refused.value.code


async def give_back(desk: Desk, order_id: object, **more: object) -> Caused:
    return await desk.run(refund_order, {"order_id": order_id, **WHY, **more})


async def test_an_order_is_given_back_once_with_the_time_that_it_gave(desk: Desk) -> None:
    await stock(desk)
    await fund(desk, 3 * PRICE, id=1)
    first, second = await order(desk, RENEWING), await order(desk)
    ends = (await only_license(desk)).end_at
    assert ends is not None

    caused = await give_back(desk, first.order_id)

    assert (caused.result.amount, caused.result.balance_after) == (PRICE, 2 * PRICE)
    assert (await wallet_balance(desk), await desk.balance(SALES)) == (2 * PRICE, PRICE)
    assert caused.one("order.refunded").total_amount == PRICE
    assert ((await only_license(desk)).status, (await only_license(desk)).end_at) == (
        "active",
        ends - timedelta(days=30),
    )
    (subscription,) = await subscriptions(desk)
    assert subscription.next_billing_at == ends - timedelta(days=30, hours=12)
    assert await refuses(desk, refund_order, {"order_id": first.order_id}) == "order_not_refundable"

    caused = await give_back(desk, second.order_id)
    # Nothing of the licence is left: it is revoked, and nothing renews it.
    assert [type_ for type_, _ in caused.emitted][-2:] == ["license.revoked", "renewal.cancelled"]
    assert (await only_license(desk)).status == "revoked"
    assert [one.status for one in await subscriptions(desk)] == ["cancelled"]
    assert (await wallet_balance(desk), await desk.balance(SALES)) == (3 * PRICE, 0)


async def test_a_refund_of_an_old_order_leaves_the_licence_of_a_later_one(desk: Desk) -> None:
    await stock(desk)
    await fund(desk, 2 * PRICE, id=1)
    old = await order(desk)
    desk.later(days=31)
    license = await only_license(desk)
    await desk.run(revoke_license, {"license_id": license.license_id, **WHY})
    await order(desk)

    await give_back(desk, old.order_id)

    (bought,) = [one for one in await desk.rows(PayUserSymbolLicense) if one.license_id != license.license_id]
    assert bought.end_at == bought.start_at + timedelta(days=30)


async def test_a_refund_for_an_order_never_gives_back_more_than_it_cost(desk: Desk) -> None:
    await stock(desk)
    await fund(desk, PRICE, id=1)
    bought, waiting = await order(desk), await order(desk)
    some: dict[str, object] = {"user_id": USER, "order_id": bought.order_id}

    assert await refuses(desk, refund_to_wallet, {**some, "amount": PRICE + 1}) == "refund_exceeds_order"
    assert await refuses(desk, refund_to_wallet, {**some, "amount": 1, "user_id": "43"}) == "order_not_found"
    assert await refuses(desk, refund_to_wallet, {**some, "amount": 1, "order_id": uuid4()}) == "order_not_found"
    unpaid = {**some, "amount": 1, "order_id": waiting.order_id}
    assert await refuses(desk, refund_to_wallet, unpaid) == "order_not_refundable"
    await desk.run(refund_to_wallet, {**WHY, **some, "amount": PRICE // 2})
    assert await refuses(desk, refund_to_wallet, {**some, "amount": PRICE // 2 + 1}) == "refund_exceeds_order"
    assert (await order_of(desk, bought.order_id)).status == "paid"

    caused = await give_back(desk, bought.order_id, keep_licenses=True)

    assert caused.result.amount == PRICE // 2
    assert (await order_of(desk, bought.order_id)).status == "refunded"
    assert (await only_license(desk)).status == "active"
    assert (await wallet_balance(desk), await desk.balance(SALES)) == (PRICE, 0)


async def test_a_suspended_licence_gives_no_access_and_is_not_replaced_by_buying_again(desk: Desk) -> None:
    await stock(desk)
    await fund(desk, 2 * PRICE, id=1)
    await order(desk)
    license = await only_license(desk)
    named: dict[str, object] = {"license_id": license.license_id, **WHY}
    ends = license.end_at
    assert ends is not None

    await desk.run(suspend_license, named)
    await order(desk, ITEM)

    suspended = await only_license(desk)
    assert (suspended.status, suspended.end_at, suspended.is_open(desk.now)) == (
        "suspended",
        ends + timedelta(days=30),
        False,
    )
    assert await refuses(desk, suspend_license, named) == "wrong_license_status"
    caused = await desk.run(restore_license, named)
    assert (caused.result.is_active, caused.emitted[0][0]) == (True, "license.restored")
    caused = await desk.run(revoke_license, named)
    assert (await only_license(desk)).status == "revoked"
    assert await refuses(desk, restore_license, named) == "wrong_license_status"
    assert await refuses(desk, revoke_license, {"license_id": uuid4()}) == "license_not_found"
