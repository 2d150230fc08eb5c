"""What time brings, what cannot be handled, and whose it is: sweeps, the error queue, and several accounts."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import pytest
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from handlers.paypal import failures, payment_reports, processing, sweeping
from handlers.paypal import sandbox_deeds as deeds
from handlers.paypal.tables import PaypalPayment, PaypalSubscription
from handlers.paypal.webhooks import VERIFIED_TYPE
from hub.errors import PermanentError
from hub.ledger.read import list_accounts
from hub.operate import parked
from hub.store import tables as t
from tests.scenarios.paypal import ERROR_QUEUE, Paypal, fixture, playing
from tests.scenarios.test_paypal_subscribing import PLAN, shopping
from tests.support.clock import SettableClock
from tests.support.running import PROJECT, until

if TYPE_CHECKING:
    from hub.deliver.context import Context

HOUR_S = 3_600.0
WISH = {"plan_id": PLAN, "custom_id": "user-7"}
EU = {"client_id": "c2", "secret": "s2", "webhook_id": "2EUWEBHOOKID000001"}
FROM_TAIWAN = {"subscriber": {"shipping_address": {"address": {"country_code": "TW"}}}}


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock(datetime(2026, 3, 1, 10, tzinfo=UTC))


async def balances(paypal: Paypal) -> dict[str, int]:
    async with paypal.running.hub.store.reading() as conn:
        return {one.account.code: one.balance.amount_minor for one in await list_accounts(conn)}


async def test_buyers_who_never_approve_and_payments_that_stay_pending_are_not_forgotten(
    database_url: str, tmp_path: Path, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "BATCH", 1)
    async with shopping(tmp_path, database_url, clock, HUB_PAYPAL_MERCHANT_COUNTRY="TW") as shop:
        paypal, now = shop.paypal, clock.now()
        with shop.sandbox.keeper.opened() as book:
            slow, quick = deeds.subscribe(book, WISH, now), deeds.subscribe(book, {**WISH, **FROM_TAIWAN}, now)
            told = [
                deeds.tell_subscription(book, slow, "BILLING.SUBSCRIPTION.CREATED", now),
                deeds.change_status(book, quick["id"], "ACTIVE", now),
                deeds.pay(book, quick["id"], now, state="pending"),
                deeds.pay(book, quick["id"], now, state="denied"),
            ]
            waits = book.sales[told[2]["resource"]["id"]]
        for body in told:
            await shop.sandbox.postman.deliver(body)
            await paypal.settled()
        records = {one.event_type: one.reason for one in await paypal.records(4)}
        assert records["PAYMENT.SALE.DENIED"].startswith("PAYMENT_REVIEW; domestic_not_supported: ")
        assert records["PAYMENT.SALE.PENDING"] == "PAYMENT_REVIEW"

        api = paypal.running.hub.api
        (waiting,) = await payment_reports.list_pending(api)
        assert await payment_reports.said_of(api, waiting) == "PENDING"
        shop.misbehave("transactions", "500")
        assert (await payment_reports.said_of(api, waiting)).startswith("not asked: ")

        # One of an account that is no longer ours can never be asked about, and takes nobody's place.
        await paypal.running.hub.store.write(_another_pending(waiting, account="paypal-gone"))

        # One that stays pending for ever takes a place once, not each day.
        await paypal.running.hub.store.write(_another_pending(waiting, account=None))

        # A day short of three nothing is done; then PayPal is asked, and nobody waits for the buyer any more.
        clock.advance(71 * HOUR_S)
        await paypal.settled()
        assert await paypal.messages("paypal.subscription.answers") == []
        with shop.sandbox.keeper.opened() as book:
            book.sales[waits["id"]] |= {"state": "completed", "transaction_fee": {"value": "5.00", "currency": "USD"}}
        clock.advance(24 * HOUR_S)

        async def asked() -> list[str]:
            return [one.payment_id for one in await paypal.entities(PaypalPayment) if one.asked_at is not None]

        await until(asked)
        await paypal.settled()
        assert await asked() == ["OLD-None"]
        clock.advance(24 * HOUR_S)

        async def is_booked() -> bool:
            return {one.payment_id: one.state for one in await paypal.entities(PaypalPayment)}[
                waits["id"]
            ] == "completed"

        await until(is_booked)
        await until(lambda: paypal.messages("paypal.subscription.answers"))
        (left,) = await paypal.messages("paypal.subscription.answers")
        assert (left["subscription_id"], left["custom_id"]) == (slow["id"], "user-7")
        assert (await shop.call("GET", f"/api/paypal/subscriptions/{slow['id']}"))[1]["status"] == "ABANDONED"
        # A fee of 5.00 for 9.99 is booked as it is, and said.
        tags = [row.value for row in await paypal.running.rows(t.tags) if row.name == "fee_unusual"]
        assert tags == [waits["id"]]
        assert (await balances(paypal))["paypal:fees:USD"] == 500

        # The buyer approves after all.
        with shop.sandbox.keeper.opened() as book:
            late = deeds.change_status(book, slow["id"], "ACTIVE", clock.now())
        await shop.sandbox.postman.deliver(late)
        await paypal.settled()
        assert (await shop.call("GET", f"/api/paypal/subscriptions/{slow['id']}"))[1]["status"] == "ACTIVE"
        assert (await shop.call("GET", "/api/paypal/subscriptions/%00"))[0] == 404
        odd = {"Idempotency-Key": "ü"}
        assert (await shop.call("POST", "/api/paypal/subscriptions", {}, **odd))[1]["field"] == "Idempotency-Key"
        assert (await shop.call("POST", "/subscription/create", {}, key=""))[0] == 401
        assert (await shop.call("GET", "/plans/list?account=paypal-us"))[1]["field"] == "account"


def _another_pending(like: PaypalPayment, *, account: str | None) -> Any:
    async def work(conn: AsyncConnection) -> None:
        row = {column.name: getattr(like, column.name) for column in PaypalPayment.__table__.columns}
        earlier = like.created_at - timedelta(seconds=1)
        await conn.execute(
            insert(PaypalPayment), [{**row, "payment_id": f"OLD-{account}", "account": account, "created_at": earlier}]
        )

    return work


async def test_what_cannot_be_handled_is_told_once_and_handled_after_the_fix(
    database_url: str, tmp_path: Path, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any) -> None:
        raise PermanentError("the table is not there")

    body = fixture()
    async with playing(tmp_path, database_url, clock) as paypal:
        with monkeypatch.context() as broken:
            broken.setattr(processing, "apply_sale", fail)
            await paypal.deliver(body)
            await paypal.settled()
        assert await paypal.outcomes("process-paypal-webhook") == [("parked", None)]

        for _ in range(2):
            clock.advance(300)
            await until(lambda: paypal.messages(ERROR_QUEUE))
            await paypal.settled()

        (told,) = await paypal.messages(ERROR_QUEUE)
        assert (told["body"].encode(), told["route"]) == (body, "process-paypal-webhook")
        assert told["reason"] == "processing_failed: the table is not there"
        assert told["headers"]["paypal-transmission-sig"]
        (record,) = await paypal.records(1)
        assert (record.outcome, record.event_type, record.verdict) == ("failed", "PAYMENT.SALE.COMPLETED", "valid")

        # Where the webhook itself is not kept any more, what was proven is told, and no look fails for it.
        (proven,) = [row for row in await paypal.running.rows(t.inbox) if row.type == VERIFIED_TYPE]
        old = {"webhook_event_id": str(uuid4()), "event": json.loads(body)}
        parked_one = SimpleNamespace(type=VERIFIED_TYPE, event_id=proven.id, payload=json.dumps(old).encode())
        async with paypal.running.hub.api.reading() as session:
            ctx = cast("Context", SimpleNamespace(session=session))
            origin, said = await failures._origin(parked_one, ctx)
        assert (origin.id, json.loads(said)) == (proven.id, json.loads(body))

        hub = paypal.running.hub
        await parked.retry(hub.store, clock, str(told["delivery_id"]), actor="ann")
        await paypal.settled()
        assert {one.outcome for one in await paypal.records(2)} == {"failed", "payment_settled"}
        assert (await balances(paypal))["paypal:revenue:USD"] == 500


async def test_each_account_is_believed_booked_and_asked_by_itself(
    database_url: str, tmp_path: Path, clock: SettableClock
) -> None:
    rules = (PROJECT / "routing.yaml").read_text()
    own = rules[rules.index("  paypal:\n") : rules.index("  # Subscribing a buyer by message")]
    other = own.replace("  paypal:\n", "  paypal-eu:\n", 1).replace("/webhooks/paypal", "/webhooks/paypal-eu")
    other = other.replace("      aliases: [/webhook/receiver]\n", "")
    rules = rules.replace(own, own + other, 1).replace(
        "    match: paypal.webhook.received\n    source: paypal\n",
        "    match: paypal.webhook.received\n    source: [paypal, paypal-eu]\n",
    )
    (tmp_path / "routing.yaml").write_text(rules)
    more = {"HUB_ROUTING": str(tmp_path / "routing.yaml"), "HUB_PAYPAL_ACCOUNTS": json.dumps({"paypal-eu": EU})}
    body = fixture()
    async with playing(tmp_path, database_url, clock, **more) as paypal:
        theirs = paypal.signed(body, webhook_id=EU["webhook_id"])

        # Signed for one account, sent to the other: nobody's.
        await paypal.deliver(body, theirs)
        await paypal.deliver(body, path="/webhooks/paypal-eu")
        await paypal.settled()
        assert await paypal.proofs() == ["invalid", "invalid"]
        await paypal.deliver(body, theirs, path="/webhooks/paypal-eu")
        await paypal.settled()

        assert (await paypal.proofs())[2] == "valid"
        assert await balances(paypal) == {
            "paypal-eu:clearing:USD": 500 - 66,
            "paypal-eu:fees:USD": 66,
            "paypal-eu:revenue:USD": 500,
        }
        (row,), (payment,) = await paypal.entities(PaypalSubscription), await paypal.entities(PaypalPayment)
        assert (row.account, payment.account) == ("paypal-eu", "paypal-eu")
