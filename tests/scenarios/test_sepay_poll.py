"""Lost webhooks are healed by the bank statement, over a real socket, in both versions of SePay's transaction list."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from handlers.sepay.bank_desk import poll_once
from handlers.sepay.reconciling import reconcile
from handlers.sepay.sandbox_bank import SandboxBank, TransactionList
from handlers.sepay.statement_api import Window
from handlers.sepay.tables import PayBankTransaction
from handlers.sepay.tables_polls import PayStatementPoll
from hub.store import tables as t
from tests.scenarios.bank import ACCOUNTS, Bank, transfer
from tests.scenarios.conftest import NOW
from tests.support.clock import SettableClock
from tests.support.running import environment, running, until

TOKEN = "test-list-token"
QUARTER_S = 15 * 60
ROUTE = "poll-bank-statement"


class Statement:
    """A hub that polls, and the bank that it asks."""

    def __init__(self, bank: Bank, sandbox: SandboxBank, list_: TransactionList, clock: SettableClock) -> None:
        self.bank = bank
        self.sandbox = sandbox
        self.list = list_
        self._clock = clock
        self._polls = 0

    async def poll(self) -> str:
        """Let a quarter of an hour pass; answers with how the poll of that instant ended."""
        self._clock.advance(QUARTER_S)
        self._polls += 1
        await until(self._has_polled)
        await self.bank.settled()
        return (await self.bank.outcomes(ROUTE))[-1]

    async def _has_polled(self) -> bool:
        polls = [row for row in await self.bank.rows(t.inbox) if row.type == "sepay.statement.poll"]
        return len(polls) == self._polls


@asynccontextmanager
async def polled(
    database_url: str, tmp_path: Path, clock: SettableClock, *, version: str = "1", token: str = TOKEN
) -> AsyncIterator[Statement]:
    sandbox = SandboxBank(tmp_path / "bank.jsonl")
    list_ = TransactionList(sandbox, TOKEN, requests_per_second_max=1_000)
    app = web.Application()
    app.add_routes(list_.routes())
    async with TestServer(app) as server:
        environ = environment(
            tmp_path,
            database_url,
            SEPAY_ACCOUNTS=ACCOUNTS,
            SEPAY_API_TOKEN=token,
            SEPAY_API_VERSION=version,
            SEPAY_API_BASE=str(server.make_url("")),
        )
        clock.set(NOW - timedelta(seconds=5, minutes=5))
        async with running(environ, clock=clock) as hub:
            bank = Bank(hub)
            # A schedule counts from when it was first seen: the clock may move only then.
            await until(lambda: bank.rows(t.schedules))
            yield Statement(bank, sandbox, list_, clock)
            await bank.settled()
            await bank.assert_no_money_appeared_or_vanished()


@pytest.fixture(params=["1", "2"])
async def statement(
    request: pytest.FixtureRequest, database_url: str, tmp_path: Path, clock: SettableClock
) -> AsyncIterator[Statement]:
    async with polled(database_url, tmp_path, clock, version=request.param) as statement:
        yield statement


async def test_a_lost_webhook_is_healed_once(statement: Statement) -> None:
    bank = statement.bank
    _, asked = await bank.call("POST", "/wallet/topup/", {"amount": 100_000})
    statement.sandbox.book(transfer(asked["transfer_content"], transactionDate="2024-11-15 09:34:00"))

    polls = [await statement.poll(), await statement.poll()]

    assert polls == ["healed", "complete"]
    assert await bank.outcomes("settle-bank-transfer") == ["credited"]
    (row,) = await bank.entities(PayBankTransaction)
    assert (row.source, row.amount_in_minor) == ("reconcile", 100_000)
    assert (row.provider_uuid is None) == (row.sepay_tx_id == 123456789)
    (noted,) = await bank.entities(PayStatementPoll)
    assert (noted.healed, noted.rows_read) == (1, 2)
    (event,) = await bank.rows_of_source("sepay")
    (poll, _) = [row for row in await bank.rows(t.inbox) if row.type == "sepay.statement.poll"]
    assert event.traceparent[3:35] == poll.traceparent[3:35]


async def test_a_webhook_that_comes_after_the_poll_is_a_duplicate(statement: Statement) -> None:
    bank = statement.bank
    _, asked = await bank.call("POST", "/wallet/topup/", {"amount": 100_000})
    body = transfer(asked["transfer_content"], transactionDate="2024-11-15 09:34:00")
    statement.sandbox.book(body)
    await statement.poll()

    for _ in range(2):
        assert await bank.deliver(body) == (200, {"success": True})

    await bank.settled()
    outcomes = await bank.outcomes("settle-bank-transfer")
    assert (outcomes[0], set(outcomes[1:])) in [("credited", set()), ("credited", {"ignored_duplicate"})]
    assert len(await bank.entities(PayBankTransaction)) == 1
    assert (await bank.call("GET", "/wallet/"))[1]["balance"] == 100_000
    assert await statement.poll() == "complete"


async def test_what_the_webhook_brought_is_not_accepted_again(statement: Statement) -> None:
    bank = statement.bank
    _, asked = await bank.call("POST", "/wallet/topup/", {"amount": 100_000})
    bodies = [
        transfer(asked["transfer_content"], transactionDate="2024-11-15 09:34:00"),
        transfer("rut tien", 5_000, id=5, transferType="out", transactionDate="2024-11-15 09:34:10"),
        transfer("who is this", 7_000, id=6, transactionDate="2024-11-15 09:34:20"),
    ]
    statement.sandbox.book(*bodies)
    for body in bodies:
        await bank.deliver(body)
    await bank.settled()

    await statement.poll()
    last = await statement.poll()

    assert last == "complete"
    assert sorted(row.outcome for row in await bank.entities(PayBankTransaction)) == [
        "credited",
        "ignored_out",
        "unmatched",
    ]
    assert await bank.rows(t.conflicts) == []


async def test_two_transfers_that_look_the_same_stay_two(statement: Statement) -> None:
    bank = statement.bank
    _, asked = await bank.call("POST", "/wallet/topup/", {"amount": 100_000})
    same = {"transactionDate": "2024-11-15 09:34:00", "referenceCode": "3516"}
    bodies = [transfer(asked["transfer_content"], id=id, **same) for id in (11, 12)]
    statement.sandbox.book(*bodies)
    await bank.deliver(bodies[0])
    await bank.settled()

    await statement.poll()
    await bank.deliver(bodies[1])
    await bank.settled()
    last = await statement.poll()

    assert last == "complete"
    assert sorted(row.outcome for row in await bank.entities(PayBankTransaction)) == ["credited", "duplicate_payment"]
    assert await bank.suspense() == 100_000


async def test_a_statement_that_says_otherwise_is_one_conflict_for_a_person(
    database_url: str, tmp_path: Path, clock: SettableClock
) -> None:
    async with polled(database_url, tmp_path, clock) as statement:
        bank = statement.bank
        body = transfer("who is this", 100_000, transactionDate="2024-11-15 09:34:00")
        statement.sandbox.book({**body, "transferAmount": 90_000})
        await bank.deliver(body)
        await bank.settled()

        polls = [await statement.poll(), await statement.poll()]
        again = await poll_once(bank.running.hub.api)

        # A conflict is for a person: nothing is healed by it.
        assert polls == ["complete", "complete"]
        assert [poll.healed for poll in await bank.entities(PayStatementPoll)] == [0]
        assert again.accepted == 0
        assert [row.state for row in await bank.rows(t.conflicts)] == ["open"]
        window = Window(NOW - timedelta(hours=1), NOW)
        (difference,) = (await reconcile(bank.running.hub.api, window)).differences
        assert (difference.kind, difference.at_bank_minor, difference.in_books_minor) == (
            "another_amount",
            90_000,
            100_000,
        )


async def test_a_token_that_sepay_does_not_know_is_a_review_and_never_an_empty_statement(
    database_url: str, tmp_path: Path, clock: SettableClock
) -> None:
    async with polled(database_url, tmp_path, clock, token="another") as statement:
        statement.sandbox.book(transfer("anything", transactionDate="2024-11-15 09:34:00"))

        assert await statement.poll() == "statement_refused"

        (review,) = await statement.bank.rows(t.reviews)
        assert "does not know the token" in review.reason
        assert await statement.bank.entities(PayStatementPoll) == []


async def test_haste_is_waited_out(database_url: str, tmp_path: Path, clock: SettableClock) -> None:
    async with polled(database_url, tmp_path, clock) as statement:
        statement.sandbox.book(transfer("anything", transactionDate="2024-11-15 09:34:00"))
        statement.list.requests_per_second_max = 0
        clock.advance(QUARTER_S)

        async def is_told_to_wait() -> bool:
            return any(row.state == "retrying" for row in await statement.bank.rows(t.deliveries))

        await until(is_told_to_wait)
        # The clock stands: what waits for a later time does not keep the hub from being settled.
        await statement.bank.settled()
        assert await is_told_to_wait()
        statement.list.requests_per_second_max = 1_000
        clock.advance(300)

        async def has_healed() -> bool:
            return await statement.bank.outcomes("settle-bank-transfer") == ["unmatched"]

        await until(has_healed)
