"""Many writers at once: nothing is lost, nothing appears, nobody overdraws."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Iterable
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.ledger import Account, Book, Move, entry_rows, transfer
from hub.ledger.errors import (
    AlreadyReversedError,
    DuplicateReferenceError,
    HoldClosedError,
    HoldExceededError,
    InsufficientFundsError,
    LedgerError,
)
from hub.store.store import Store
from tests.integration.ledger.raw import RawMove, raw_entry
from tests.integration.ledger.samples import (
    BANK,
    NOW,
    OTHER,
    SALES,
    WALLET,
    assert_sound,
    balance_of,
    booked,
    top_up,
    vnd,
)

DEADLINE_S = 300
WALLETS = [Account(f"wallet:{number}", "VND", "credit") for number in range(5)]


async def outcomes(attempts: Iterable[Awaitable[object]]) -> list[str]:
    """What became of each attempt: "done" or the name of the ledger's refusal."""

    async def outcome(attempt: Awaitable[object]) -> str:
        try:
            await attempt
        except LedgerError as error:
            return type(error).__name__
        return "done"

    async with asyncio.timeout(DEADLINE_S):
        return sorted(await asyncio.gather(*map(outcome, attempts)))


async def test_transfers_among_the_same_wallets_keep_the_sum(store: Store) -> None:
    for wallet in WALLETS:
        await top_up(store, wallet, 1000)
    chance = random.Random(7)

    async def one(number: int) -> None:
        chain = chance.sample(WALLETS, 3)
        amounts = [chance.randint(1, 400), chance.randint(1, 400)]
        moves = [transfer(chain[0], chain[1], vnd(amounts[0])), transfer(chain[1], chain[2], vnd(amounts[1]))]

        async def work(book: Book) -> None:
            # One in four has not declared its accounts and meets the others crosswise; a deadlock runs it again.
            await book.lock(chain if number % 4 else ())
            for part, move in enumerate(moves):
                await book.post(reference=f"t{number}:{part}", kind="k", moves=[move])
                await asyncio.sleep(0)

        await booked(store, work, slot=number)

    async def writer(first: int) -> list[str]:
        return [(await outcomes([one(number)]))[0] for number in range(first, first + 30)]

    async with asyncio.timeout(DEADLINE_S):
        found = [outcome for part in await asyncio.gather(*map(writer, range(0, 240, 30))) for outcome in part]

    assert len(found) == 240
    assert found.count("done") > 100
    assert set(found) <= {"done", "InsufficientFundsError"}
    balances = [await balance_of(store, wallet) for wallet in WALLETS]
    assert sum(balances) == 5000
    assert min(balances) >= 0
    await assert_sound(store)


@pytest.mark.parametrize("store", ["postgresql"], indirect=True)
async def test_a_deadlocked_batch_runs_again_with_its_accounts_locked_first(store: Store) -> None:
    await top_up(store, WALLET, 1000)
    await top_up(store, OTHER, 1000)
    both_began = asyncio.Barrier(2)
    attempts = []

    async def batch(first: Account, second: Account) -> None:
        known: tuple[Account, ...] = ()

        async def work(conn: AsyncConnection) -> None:
            nonlocal known
            attempts.append(first.code)
            book = Book(conn, now=NOW)
            again, known = known, (first, second)
            await book.lock(again)
            await book.balance(first)
            if not again:
                await both_began.wait()
            await book.post(reference=first.code, kind="k", moves=[transfer(first, second, vnd(10))])
            assert set(known) == set(book.touched)
            await book.flush()

        await store.write(work)

    async with asyncio.timeout(DEADLINE_S):
        await asyncio.gather(batch(WALLET, OTHER), batch(OTHER, WALLET))

    assert len(attempts) == 3
    assert [await balance_of(store, account) for account in (WALLET, OTHER)] == [1000, 1000]
    await assert_sound(store)


async def test_a_wallet_is_not_overdrawn_by_many_at_once(store: Store) -> None:
    await top_up(store, WALLET, 1000)

    found = await outcomes(
        booked(
            store,
            lambda book, n=number: book.post(reference=f"p{n}", kind="k", moves=[transfer(WALLET, SALES, vnd(100))]),  # type: ignore[misc]
            slot=number,
        )
        for number in range(25)
    )

    assert found == [InsufficientFundsError.__name__] * 15 + ["done"] * 10
    assert (await balance_of(store, WALLET), await balance_of(store, SALES)) == (0, 1000)
    await assert_sound(store)


async def test_one_reference_posted_by_many_at_once_is_posted_once(store: Store) -> None:
    wallets = [*WALLETS, *WALLETS]

    found = await outcomes(
        booked(store, lambda book, w=wallet: book.post(reference="same", kind="k", moves=[Move(BANK, w, vnd(5))]))  # type: ignore[misc]
        for wallet in wallets
    )

    assert found == [DuplicateReferenceError.__name__] * 9 + ["done"]
    assert await balance_of(store, BANK) == 5
    await assert_sound(store)


async def test_batches_with_the_same_references_crosswise_end_with_one_of_each(store: Store) -> None:
    async def batch(references: list[str]) -> None:
        async def work(book: Book) -> None:
            for reference in references:
                await book.post(reference=reference, kind="k", moves=[Move(BANK, SALES, vnd(1))])

        await booked(store, work)

    names = [f"r{number:02}" for number in range(30)]

    found = await outcomes(batch(names if number % 2 else names[::-1]) for number in range(8))

    assert found == [DuplicateReferenceError.__name__] * 7 + ["done"]
    assert await balance_of(store, SALES) == 30


async def test_a_hold_is_captured_once_by_many_at_once(store: Store) -> None:
    await top_up(store, WALLET, 1000)
    await booked(store, lambda book: book.hold(WALLET, vnd(100), reference="hold"))
    await booked(store, lambda book: book.hold(WALLET, vnd(900), reference="another"))

    found = await outcomes(
        booked(
            store,
            lambda book, n=number: book.capture("hold", reference=f"c{n}", to=SALES, amount=vnd(40)),  # type: ignore[misc]
        )
        for number in range(12)
    )

    assert found == [HoldExceededError.__name__] * 10 + ["done"] * 2
    assert await balance_of(store, SALES) == 80
    await assert_sound(store)


async def test_a_hold_is_either_captured_or_voided(store: Store) -> None:
    await top_up(store, WALLET, 1000)
    await booked(store, lambda book: book.hold(WALLET, vnd(100), reference="hold"))

    async def one(number: int) -> None:
        if number % 2:
            await booked(store, lambda book: book.capture("hold", reference=f"c{number}", to=SALES))
        else:
            await booked(store, lambda book: book.void("hold", reference=f"v{number}"))

    found = await outcomes(one(number) for number in range(10))

    assert found == [HoldClosedError.__name__] * 9 + ["done"]
    assert await balance_of(store, WALLET) + await balance_of(store, SALES) == 1000
    await assert_sound(store)


async def test_an_entry_is_reversed_once_by_many_at_once(store: Store) -> None:
    # Neither account is running, so no balance is locked before the flush.
    await booked(store, lambda book: book.post(reference="in", kind="k", moves=[Move(BANK, SALES, vnd(7))]))

    found = await outcomes(
        booked(store, lambda book, n=number: book.reverse("in", reference=f"r{n}"))  # type: ignore[misc]
        for number in range(8)
    )

    assert found == [AlreadyReversedError.__name__] * 7 + ["done"]
    assert await balance_of(store, BANK) == 0
    await assert_sound(store)


async def test_an_account_is_opened_once_by_many_at_once(store: Store) -> None:
    fresh = [Account(f"fresh:{number}", "VND", "credit") for number in range(20)]

    async def one(number: int) -> None:
        chosen = random.Random(number).sample(fresh, 10)

        async def work(book: Book) -> None:
            await book.lock(chosen)
            for wallet in chosen:
                await book.post(reference=f"{number}:{wallet.code}", kind="k", moves=[Move(BANK, wallet, vnd(1))])

        await booked(store, work, slot=number)

    found = await outcomes(one(number) for number in range(10))

    assert found == ["done"] * 10
    assert await balance_of(store, BANK) == 100
    await assert_sound(store)


@pytest.mark.parametrize("store", ["postgresql"], indirect=True)
async def test_writers_of_one_slot_number_their_moves_one_after_the_other(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await top_up(store, WALLET, 100)
    await top_up(store, OTHER, 100)
    insert_entries, has_numbers, may_go_on = entry_rows.insert_entries, asyncio.Event(), asyncio.Event()

    async def held_up(*given: Any) -> None:
        if not has_numbers.is_set():
            has_numbers.set()
            await may_go_on.wait()
        await insert_entries(*given)

    monkeypatch.setattr(entry_rows, "insert_entries", held_up)
    one = asyncio.create_task(top_up(store, WALLET, 1))
    await has_numbers.wait()
    other = asyncio.create_task(top_up(store, OTHER, 2))
    waiting = asyncio.create_task(_until_blocked(store))
    await asyncio.wait({other, waiting}, return_when=asyncio.FIRST_COMPLETED)
    may_go_on.set()
    await asyncio.gather(one, other)
    waiting.cancel()

    assert await balance_of(store, BANK) == 203
    await assert_sound(store)


@pytest.mark.parametrize("store", ["postgresql"], indirect=True)
async def test_writers_who_lock_nothing_cannot_break_a_balance(store: Store) -> None:
    await top_up(store, WALLET, 100)
    await top_up(store, OTHER, 100)

    # Both compute from the balance of 100; the second waits for the first and is then refused.
    async with store.writer.connect() as first, store.writer.connect() as second:
        await raw_entry(first, [RawMove("wallet:1", "wallet:2", 80, 20, 180)])
        await second.execute(text("SELECT 1"))
        waiting = asyncio.create_task(_late(second))
        await _until_blocked(store)
        await first.commit()
        with pytest.raises(IntegrityError, match="another writer came between"):
            await waiting
        await second.rollback()

    assert (await balance_of(store, WALLET), await balance_of(store, OTHER)) == (20, 180)
    await assert_sound(store)


async def _late(conn: AsyncConnection) -> None:
    # Ids of their own, so that only the balance is in dispute.
    await conn.execute(
        text(
            "WITH e AS (INSERT INTO entries (id, reference, kind, reverses_fully, move_count, note, posted_at)"
            " VALUES (900, 'late', 'k', false, 1, '', now()))"
            " INSERT INTO moves SELECT 900, 900, 1, w.id, 0, 20, o.id, 0, 180, 80, 'VND'"
            " FROM accounts w, accounts o WHERE w.code = 'wallet:1' AND o.code = 'wallet:2'"
        )
    )


async def _until_blocked(store: Store) -> None:
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    async with asyncio.timeout(DEADLINE_S):
        while True:
            async with store.reading() as conn:
                if await conn.scalar(waiting):
                    return
            await asyncio.sleep(0.01)
