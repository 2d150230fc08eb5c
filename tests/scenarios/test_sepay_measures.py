"""What is measured of payments is what has happened, and messages are what is published of them."""

from __future__ import annotations

from sqlalchemy import Executable, delete, insert, update
from sqlalchemy.ext.asyncio import AsyncConnection

from handlers.sepay.tables_polls import STATEMENT, PayStatementPoll
from hub.store import tables as t
from tests.scenarios.bank import Bank, transfer
from tests.support.clock import SettableClock
from tests.support.published import strange_messages


async def scraped(bank: Bank) -> dict[str, float]:
    """Every figure of ``/metrics`` by its name and labels, measured now."""
    await bank.running.hub.measuring.look()
    async with bank.running.http.get(f"{bank.running.url}/metrics") as response:
        # Not splitlines(): a label may hold what Python takes for the end of a line.
        lines = [line for line in (await response.text()).split("\n") if line and line[0] != "#"]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


async def written(bank: Bank, statement: Executable) -> None:
    async def work(conn: AsyncConnection) -> None:
        await conn.execute(statement)

    await bank.running.hub.store.write(work)


async def test_payments_are_measured_from_what_is_stored(bank: Bank, clock: SettableClock) -> None:
    _, topup = await bank.call("POST", "/wallet/topup/", {"amount": 500_000})
    await bank.call("POST", "/wallet/topup/", {"amount": 100_000})
    await bank.deliver(transfer(topup["transfer_content"], 500_000, id=1))
    await bank.deliver(transfer("for nobody", 70_000, id=2))
    await bank.deliver(transfer("", 1, id=3), authorization="Apikey wrong")
    await bank.settled()
    before = await scraped(bank)
    # Not JSON: it is stored and parked, so it is accepted and not processed.
    await bank.deliver(b"{")
    row = {"covered_until": clock.now(), "polled_at": clock.now(), "rows_read": 5, "healed": 2}
    await written(bank, insert(PayStatementPoll).values(name=STATEMENT, **row))
    clock.advance(90.0)
    found = await scraped(bank)

    assert found['sepay_intents{purpose="wallet_topup",status="succeeded"}'] == 1
    assert found['sepay_intents{purpose="wallet_topup",status="processing"}'] == 1
    assert (found["sepay_transfers_in_suspense"], found["sepay_suspense_dong"]) == (1, 70_000)
    assert (before["sepay_unprocessed_events"], found["sepay_unprocessed_events"]) == (0, 1)
    assert (before["sepay_unprocessed_oldest_seconds"], found["sepay_unprocessed_oldest_seconds"]) == (0, 90)
    assert "sepay_statement_age_seconds" not in before
    assert (found["sepay_statement_age_seconds"], found["sepay_statement_healed_total"]) == (90, 2)
    assert (found["sepay_ledger_violations"], found["sepay_statement_polling"]) == (0, 0)
    assert found['hub_webhook_answers_total{source="sepay",status="200"}'] == 2
    assert found['hub_webhook_answers_total{source="sepay",status="401"}'] == 1
    assert found['hub_webhook_answers_total{source="sepay",status="400"}'] == 1
    assert found['hub_http_request_seconds_count{method="POST",route="/api/seapay/wallet/topup",status="200"}'] == 2
    # These count for the whole test process, over all its hubs.
    assert found['hub_delivery_outcomes_total{outcome="credited",route="settle-bank-transfer"}'] >= 1
    assert found['hub_delivery_outcomes_total{outcome="unmatched",route="settle-bank-transfer"}'] >= 1

    clock.advance(24 * 3600.0)
    assert not [name for name in await scraped(bank) if name.startswith("sepay_intents{")]


async def test_an_open_ledger_violation_is_measured_until_somebody_resolves_it(
    bank: Bank, clock: SettableClock
) -> None:
    review = {"delivery_id": 1, "event_id": clock.new_id(), "outcome": "ledger_violation", "reason": "test"}
    await written(bank, insert(t.reviews).values(**review, state="open", created_at=clock.now()))
    assert (await scraped(bank))["sepay_ledger_violations"] == 1

    await written(bank, update(t.reviews).values(state="resolved", resolved_at=clock.now()))
    assert (await scraped(bank))["sepay_ledger_violations"] == 0
    # It stood for no delivery, which the check at the end would find.
    await written(bank, delete(t.reviews))


async def test_what_a_capability_cannot_say_is_not_told(bank: Bank) -> None:
    async def fail(_api: object) -> list[object]:
        raise RuntimeError("no figures")

    await scraped(bank)
    bank.running.hub.measuring._measures["sepay"] = fail  # type: ignore[assignment]
    found = await scraped(bank)

    assert not [name for name in found if name.startswith("sepay_")]
    assert found['hub_measures_failed_total{capability="sepay"}'] >= 1


async def test_messages_are_as_they_are_published(bank: Bank) -> None:
    _, topup = await bank.call("POST", "/wallet/topup/", {"amount": 500_000})
    await bank.deliver(transfer(topup["transfer_content"], 500_000, id=1))
    await bank.deliver(transfer("for nobody", 70_000, id=2))
    await bank.settled()

    assert await strange_messages(bank.running) == []
    # Every scenario asks this in its end (conftest.py), so it must be able to fail.
    kept = await bank.rows(t.outbox)
    await written(bank, update(t.outbox).values(payload=b'{"user_id": 42}'))
    assert len(await strange_messages(bank.running)) > 3
    for row in kept:
        await written(bank, update(t.outbox).where(t.outbox.c.seq == row.seq).values(payload=row.payload))
