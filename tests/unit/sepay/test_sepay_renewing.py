"""When a renewal is due, what the user's last word on it was, and how many licences one run takes."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from handlers.sepay import licenses
from handlers.sepay.license_desk import suspend_license
from handlers.sepay.licenses import expire_licenses, remind_of_ends
from handlers.sepay.renewal_commands import cancel_renewal, pause_renewal, resume_renewal
from handlers.sepay.tables_licenses import PayUserSymbolLicense
from hub.errors import RefusedCommand
from tests.unit.sepay.bench import USER
from tests.unit.sepay.desk import Desk
from tests.unit.sepay.shop_bench import (
    PRICE,
    RENEWING,
    cancel,
    fund,
    only_license,
    order,
    pay,
    stock,
    subscriptions,
    sweep,
    transfer_for,
)


async def command(desk: Desk, spec: object, number: int = 0) -> None:
    subscription = (await subscriptions(desk))[number]
    await desk.run(spec, {"user_id": USER, "subscription_id": subscription.subscription_id})  # type: ignore[arg-type]


async def test_a_renewal_that_is_resumed_after_the_end_is_due_at_an_instant_that_no_sweep_has_seen(desk: Desk) -> None:
    await stock(desk)
    await fund(desk, PRICE, id=1)
    await order(desk, RENEWING)
    end_at = (await only_license(desk)).end_at
    assert end_at is not None
    desk.now = end_at + timedelta(minutes=5)
    # Nothing in the wallet: it fails at its end, and is suspended in the end.
    for _ in range(3):
        (tried,) = await sweep(desk)
        assert tried.outcome == "insufficient_balance"
        desk.later(minutes=61)
    await fund(desk, PRICE, id=2)

    await command(desk, resume_renewal)

    (subscription,) = await subscriptions(desk)
    assert subscription.next_billing_at == desk.now
    assert [one.outcome for one in await sweep(desk)] == ["renewed"]


async def test_what_the_user_cancels_or_pauses_stays_so_when_an_older_order_is_paid(desk: Desk) -> None:
    await stock(desk)
    waiting = await order(desk, RENEWING)
    desk.later(minutes=1)
    await command(desk, cancel_renewal)
    await fund(desk, 4 * PRICE, id=1)

    done = await pay(desk, waiting.order_id)

    assert done.result.subscriptions_updated == 0
    assert [one.status for one in await subscriptions(desk)] == ["cancelled"]
    # What is ordered after that counts again, and what is paused meanwhile stays paused.
    desk.later(minutes=1)
    await order(desk, RENEWING)
    assert [one.status for one in await subscriptions(desk)] == ["cancelled", "active"]
    older = await order(desk, RENEWING, method="sepay_transfer")
    desk.later(minutes=1)
    await command(desk, pause_renewal, 1)
    assert (await transfer_for(desk, older.order_id, id=2)).outcome == "order_paid"
    assert [one.status for one in await subscriptions(desk)] == ["cancelled", "paused"]


async def test_an_order_that_was_given_up_does_not_take_back_the_wish_of_another(desk: Desk) -> None:
    await stock(desk)
    first = await order(desk, RENEWING)
    second = await order(desk, RENEWING)
    desk.later(minutes=1)
    await cancel(desk, second.order_id)
    await fund(desk, PRICE, id=1)

    await pay(desk, first.order_id)

    assert [one.status for one in await subscriptions(desk)] == ["cancelled", "active"]


async def test_what_is_no_longer_sold_is_not_renewed(desk: Desk) -> None:
    await stock(desk)
    await fund(desk, 2 * PRICE, id=1)
    await order(desk, RENEWING)
    await stock(desk, active=False)
    desk.later(days=30)

    (tried,) = await sweep(desk)

    assert tried.outcome == "symbol_not_found"
    assert tried.one("renewal.suspended").reason == "symbol_not_found"
    (subscription,) = await subscriptions(desk)
    assert (subscription.status, subscription.next_billing_at) == ("suspended", None)


async def test_a_job_takes_all_licences_that_are_due(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(licenses, "PER_LOOK_MAX", 4)
    await add_licenses(desk, 11)

    reminded = await desk.run(remind_of_ends, {})
    desk.later(days=2)
    expired = await desk.run(expire_licenses, {})

    assert [type_ for type_, _ in reminded.emitted] == ["license.expires_soon"] * 11
    assert [type_ for type_, _ in expired.emitted] == ["license.expired"] * 11
    assert {one.status for one in await desk.rows(PayUserSymbolLicense)} == {"expired"}
    assert (await desk.run(expire_licenses, {})).outcome == "nothing_due"


async def test_one_run_of_a_job_has_a_bound(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(licenses, "PER_LOOK_MAX", 2)
    await add_licenses(desk, 2 * licenses.LOOKS_MAX + 1)
    desk.later(days=2)

    assert len((await desk.run(expire_licenses, {})).emitted) == 2 * licenses.LOOKS_MAX
    assert len((await desk.run(expire_licenses, {})).emitted) == 1


async def add_licenses(desk: Desk, count: int) -> None:
    """Active licences of as many users, which end tomorrow."""
    rows = [
        {
            "license_id": UUID(int=number + 1),
            "user_id": f"user-{number}",
            "symbol_id": 1,
            "status": "active",
            "start_at": desk.now,
            "end_at": desk.now + timedelta(days=1, seconds=number),
            "created_at": desk.now,
            "updated_at": desk.now,
        }
        for number in range(count)
    ]

    async def work(conn: AsyncConnection) -> None:
        await conn.execute(insert(PayUserSymbolLicense), rows)

    await desk.store.write(work)


async def test_a_renewal_of_a_suspended_licence_cannot_be_resumed(desk: Desk) -> None:
    await stock(desk)
    await fund(desk, PRICE, id=1)
    await order(desk, RENEWING)
    await command(desk, pause_renewal)
    await desk.run(suspend_license, {"license_id": (await only_license(desk)).license_id, "note": "shared"})

    with pytest.raises(RefusedCommand, match="The licence is suspended"):
        await command(desk, resume_renewal)
