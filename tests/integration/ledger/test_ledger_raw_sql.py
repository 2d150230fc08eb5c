"""What the database itself refuses, whoever asks."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import pytest
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.ledger import Account, Book, Move, transfer
from hub.money import AMOUNT_MINOR_MAX, Money
from hub.store.store import Store
from tests.integration.ledger.raw import TABLES, RawMove, everything, execute, raw_entry
from tests.integration.ledger.samples import (
    BANK,
    CREDIT_LINE,
    OTHER,
    SALES,
    WALLET,
    YEN,
    assert_sound,
    balance_of,
    booked,
    vnd,
)

MEMBERS_YEN = Account("members:yen", "JPY", "debit", running=False)


@pytest.fixture
async def books(store: Store) -> Store:
    """wallet:1 has 400 and an open hold of 100; wallet:2 has 0; a closed hold; a yen account."""

    async def work(book: Book) -> None:
        await book.lock([OTHER, CREDIT_LINE])
        await book.post(reference="top-up", kind="k", moves=[Move(BANK, WALLET, vnd(550))])
        await book.post(reference="yen", kind="k", moves=[Move(MEMBERS_YEN, YEN, Money(5, "JPY"))])
        await book.hold(WALLET, vnd(100), reference="open")
        await book.hold(WALLET, vnd(50), reference="closed")
        await book.capture("closed", reference="taken", to=SALES)

    await booked(store, work)
    return store


async def refused(books: Store, *statements: str) -> None:
    """Each statement is refused by a rule of the books, not by a slip of its own, and changes nothing."""
    before = await everything(books)
    for statement in statements:
        refusal = "accepted"
        try:
            await execute(books, statement)
        except IntegrityError as error:
            refusal = str(error.orig)
        assert _is_a_rule(refusal), f"{refusal}\n{statement}"
        assert await everything(books) == before, statement


def _is_a_rule(refusal: str) -> bool:
    return any(
        sign in refusal
        for sign in ("ledger: ", "check constraint", "CHECK constraint", "FOREIGN KEY", "unique constraint")
    )


WALLET_ID = "(SELECT id FROM accounts WHERE code = 'wallet:1')"
BANK_ID = "(SELECT id FROM accounts WHERE code = 'bank:clearing')"
NEWEST = "(SELECT max(id) FROM moves)"

CHANGES_OF_HISTORY = [
    "UPDATE entries SET note = 'x'",
    "UPDATE entries SET reference = 'x' WHERE reference = 'top-up'",
    "UPDATE entries SET move_count = 2 WHERE reference = 'top-up'",
    "UPDATE entries SET hold_id = NULL",
    "DELETE FROM entries",
    "DELETE FROM entries WHERE reference = 'yen'",
    "UPDATE moves SET amount = amount + 1",
    "UPDATE moves SET debit_after = 1",
    "UPDATE moves SET id = id + 1000",
    "UPDATE moves SET entry_id = 1",
    "DELETE FROM moves",
    "UPDATE accounts SET code = 'x' WHERE code = 'wallet:1'",
    "UPDATE accounts SET currency = 'JPY' WHERE code = 'wallet:1'",
    "UPDATE accounts SET side = 'debit' WHERE code = 'wallet:1'",
    "UPDATE accounts SET running = false, may_go_negative = true WHERE code = 'wallet:1'",
    "UPDATE accounts SET may_go_negative = true WHERE code = 'wallet:1'",
    "DELETE FROM accounts WHERE code = 'wallet:2'",
    "DELETE FROM balances",
    "DELETE FROM holds",
]

CHANGES_OF_BALANCES = [
    f"UPDATE balances SET balance = balance + 1 WHERE account_id = {WALLET_ID}",
    f"UPDATE balances SET balance = balance + 1 WHERE account_id = {BANK_ID}",
    "UPDATE balances SET balance = balance",
    f"UPDATE balances SET last_move_id = last_move_id + 1 WHERE account_id = {WALLET_ID}",
    f"UPDATE balances SET last_move_id = 0 WHERE account_id = {WALLET_ID}",
    # Somebody else's newer move explains nothing here.
    f"UPDATE balances SET balance = balance + 50, last_move_id = {NEWEST} WHERE account_id = {BANK_ID}",
    f"UPDATE balances SET balance = balance + 50, last_move_id = {NEWEST} + 1 WHERE account_id = {WALLET_ID}",
    f"UPDATE balances SET slot = 77 WHERE account_id = {WALLET_ID}",
    f"UPDATE balances SET account_id = account_id + 1000 WHERE account_id = {WALLET_ID}",
    f"INSERT INTO balances (account_id, slot, balance, last_move_id) VALUES ({WALLET_ID}, 1, 0, 0)",
    f"INSERT INTO balances (account_id, slot, balance, last_move_id) VALUES ({BANK_ID}, 20, 1, 0)",
    f"INSERT INTO balances (account_id, slot, balance, last_move_id) VALUES ({BANK_ID}, 20, 0, 1)",
    f"INSERT INTO balances (account_id, slot, balance, last_move_id) VALUES ({BANK_ID}, -1, 0, 0)",
    "INSERT INTO balances (account_id, slot, balance, last_move_id) VALUES (987654, 0, 0, 0)",
    f"INSERT INTO balances (account_id, slot, balance, last_move_id) VALUES ({WALLET_ID}, 0, 0, 0)"
    " ON CONFLICT (account_id, slot) DO UPDATE SET balance = 1000000",
]

CHANGES_OF_HOLDS = [
    "UPDATE holds SET captured = captured - 1 WHERE reference = 'closed'",
    "UPDATE holds SET captured = 0, state = 'open', closed_at = NULL WHERE reference = 'closed'",
    "UPDATE holds SET captured = 1, last_entry_id = last_entry_id + 1 WHERE reference = 'open'",
    "UPDATE holds SET captured = 100, state = 'captured', closed_at = opened_at, last_entry_id = last_entry_id + 9"
    " WHERE reference = 'open'",
    "UPDATE holds SET released = 100, state = 'voided', closed_at = opened_at, last_entry_id = last_entry_id + 9"
    " WHERE reference = 'open'",
    "UPDATE holds SET amount = amount + 1 WHERE reference = 'open'",
    "UPDATE holds SET expires_at = opened_at WHERE reference = 'open'",
    f"UPDATE holds SET held_account_id = {BANK_ID} WHERE reference = 'open'",
    "UPDATE holds SET last_entry_id = last_entry_id + 1 WHERE reference = 'closed'",
    "INSERT INTO holds (id, reference, account_id, held_account_id, amount, currency, captured, released, state,"
    " last_entry_id, opened_at) SELECT 999, 'made-up', account_id, held_account_id, amount, currency, 0, 0, 'open',"
    " 999, opened_at FROM holds WHERE reference = 'open'",
    "INSERT INTO holds (id, reference, account_id, held_account_id, amount, currency, captured, released, state,"
    " last_entry_id, opened_at) SELECT last_entry_id, 'of-another-entry', account_id, held_account_id, amount,"
    " currency, 0, 0, 'open', last_entry_id, opened_at FROM holds WHERE reference = 'closed'",
]


async def test_history_is_never_changed(books: Store) -> None:
    await refused(books, *CHANGES_OF_HISTORY)


async def test_a_balance_changes_only_through_a_move(books: Store) -> None:
    await refused(books, *CHANGES_OF_BALANCES)


async def test_a_hold_changes_only_by_what_its_entries_move(books: Store) -> None:
    await refused(books, *CHANGES_OF_HOLDS)


@pytest.mark.parametrize(
    "move",
    [
        RawMove("wallet:1", "wallet:2", 10, 390, 10),
        RawMove("bank:clearing", "wallet:1", 10, None, 410),
        RawMove("line:1", "wallet:1", 10, -10, 410),
    ],
)
async def test_a_right_move_written_by_hand_is_accepted_and_applied(books: Store, move: RawMove) -> None:
    async def work(conn: AsyncConnection) -> None:
        await raw_entry(conn, [move])

    await books.write(work)

    assert await balance_of(books, WALLET) == (move.debit_after if move.debit == "wallet:1" else move.credit_after)
    await assert_sound(books)


WRONG_MOVES = {
    "below zero": [RawMove("wallet:2", "wallet:1", 1, -1, 401)],
    "below zero in between": [
        RawMove("wallet:2", "wallet:1", 1, -1, 401),
        RawMove("wallet:1", "wallet:2", 1, 400, 0),
    ],
    "held money spent twice": [RawMove("wallet:1#held", "wallet:2", 101, -1, 101)],
    "wrong balance after the debit": [RawMove("wallet:1", "wallet:2", 10, 391, 10)],
    "wrong balance after the credit": [RawMove("wallet:1", "wallet:2", 10, 390, 11)],
    "balances after in the wrong order": [
        RawMove("wallet:1", "wallet:2", 10, 380, 20),
        RawMove("wallet:1", "wallet:2", 10, 390, 10),
    ],
    "no balance after": [RawMove("bank:clearing", "wallet:1", 10, None, None)],
    "a balance after on a summed account": [RawMove("bank:clearing", "wallet:1", 10, 560, 410)],
    "nothing": [RawMove("wallet:1", "wallet:2", 0, 400, 0)],
    "less than nothing": [RawMove("wallet:1", "wallet:2", -10, 410, -10)],
    "more than the bound": [RawMove("bank:clearing", "wallet:1", AMOUNT_MINOR_MAX + 1, None, 401 + AMOUNT_MINOR_MAX)],
    "one account": [RawMove("wallet:1", "wallet:1", 10, 390, 400)],
    "another currency": [RawMove("wallet:1", "wallet:2", 10, 390, 10, currency="JPY")],
    "accounts of two currencies": [RawMove("bank:clearing", "campaign:yen", 10, None, -15)],
    "accounts of two currencies, the other way": [RawMove("campaign:yen", "wallet:2", 5, 0, 5)],
    "an unknown account": [RawMove("nobody", "wallet:1", 10, None, 410)],
    "an unknown slot": [RawMove("bank:clearing", "wallet:1", 10, None, 410, slot=50)],
    "an old id": [RawMove("bank:clearing", "wallet:1", 10, None, 410, id=1)],
    "an id before the last move": [RawMove("wallet:1", "wallet:2", 10, 390, 10, id=-5)],
    "a gap in the positions": [RawMove("wallet:1", "wallet:2", 10, 390, 10, position=2)],
}


async def refused_moves(books: Store, name: str, moves: Sequence[RawMove], or_what: str = "") -> None:
    before = await everything(books)

    async def work(conn: AsyncConnection) -> None:
        await raw_entry(conn, moves, or_what=or_what)

    refusal = "accepted"
    try:
        await books.write(work)
    except IntegrityError as error:
        refusal = str(error.orig)
    assert _is_a_rule(refusal), f"{refusal}\n{name}"
    assert await everything(books) == before, name


async def test_a_wrong_move_is_refused(books: Store) -> None:
    for name, moves in WRONG_MOVES.items():
        await refused_moves(books, name, moves)


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_an_entry_has_exactly_the_moves_it_announces(books: Store, count: int) -> None:
    moves = [RawMove("wallet:1", "wallet:2", 10, 390, 10), RawMove("wallet:1", "wallet:2", 10, 380, 20)]

    async def work(conn: AsyncConnection) -> None:
        await raw_entry(conn, moves, move_count=count)

    before = await everything(books)
    with pytest.raises(IntegrityError):
        await books.write(work)

    assert await everything(books) == before


async def test_an_entry_without_moves_is_not_committed(books: Store) -> None:
    posted = "now()" if books.dialect == "postgresql" else "'2026-11-21T09:30:00.000000Z'"

    await refused(
        books,
        "INSERT INTO entries (id, reference, kind, reverses_fully, move_count, note, posted_at)"
        f" VALUES (999, 'empty', 'k', false, 1, '', {posted})",
    )


async def test_a_finished_entry_gets_no_further_move(books: Store) -> None:
    await refused(
        books,
        "INSERT INTO moves SELECT 9000, entry_id, position + 1, debit_account, debit_slot, debit_after, credit_account,"
        " credit_slot, credit_after + amount, amount, currency FROM moves WHERE id = 1",
    )
    await refused(
        books,
        "INSERT INTO moves SELECT 9000, 8000, 1, debit_account, debit_slot, debit_after, credit_account,"
        " credit_slot, 400 + amount, amount, currency FROM moves WHERE id = 1",
    )


@pytest.mark.parametrize("reverses", ["12345", "(SELECT max(id) + 1 FROM entries)"])
async def test_an_entry_reverses_an_older_one(books: Store, reverses: str) -> None:
    async def work(conn: AsyncConnection) -> None:
        await raw_entry(conn, [RawMove("wallet:1", "wallet:2", 10, 390, 10)], reverses=reverses)

    with pytest.raises(IntegrityError):
        await books.write(work)


@pytest.mark.parametrize("hold_id", ["12345", "(SELECT min(id) FROM entries)"])
async def test_an_entry_names_a_hold_that_is_one(books: Store, hold_id: str) -> None:
    async def work(conn: AsyncConnection) -> None:
        await raw_entry(conn, [RawMove("wallet:1", "wallet:2", 10, 390, 10)], hold_id=hold_id)

    with pytest.raises(IntegrityError):
        await books.write(work)


async def test_a_table_of_the_books_is_never_emptied(books: Store) -> None:
    empty = "DELETE FROM {}" if books.dialect == "sqlite" else "TRUNCATE {} CASCADE"

    await refused(books, *(empty.format(table) for table in TABLES))


@pytest.mark.parametrize("store", ["postgresql"], indirect=True)
async def test_postgresql_has_no_way_around(books: Store) -> None:
    merge = "MERGE INTO balances b USING accounts a ON a.id = b.account_id AND a.code = 'wallet:1' WHEN MATCHED THEN"

    await refused(
        books,
        f"DO $$ BEGIN UPDATE balances SET balance = balance + 1 WHERE account_id = {WALLET_ID}; END $$",
        "INSERT INTO entries SELECT * FROM entries WHERE reference = 'yen' ON CONFLICT (id) DO UPDATE SET note = 'x'",
        f"{merge} UPDATE SET balance = 1000000",
        f"{merge} DELETE",
    )


SQLITE_WAYS_AROUND = [
    "INSERT OR REPLACE INTO entries SELECT * FROM entries WHERE reference = 'yen'",
    "REPLACE INTO moves SELECT * FROM moves WHERE id = 1",
    "INSERT OR REPLACE INTO accounts SELECT id, code, currency, 'debit', running, may_go_negative, opened_at"
    " FROM accounts WHERE code = 'wallet:1'",
    "INSERT OR REPLACE INTO accounts SELECT 5555, code, currency, side, running, 1, opened_at"
    " FROM accounts WHERE code = 'wallet:1'",
    f"INSERT OR REPLACE INTO balances VALUES ({WALLET_ID}, 0, 0, 0)",
    "INSERT OR REPLACE INTO holds SELECT * FROM holds",
    f"UPDATE OR REPLACE balances SET account_id = {BANK_ID}, slot = 0 WHERE account_id = {WALLET_ID}",
    f"UPDATE OR IGNORE balances SET balance = 1000000 WHERE account_id = {WALLET_ID}",
    "UPDATE OR REPLACE entries SET id = 1 WHERE id = 2",
    f"UPDATE balances SET balance = '400' WHERE account_id = {WALLET_ID}",
    f"UPDATE balances SET balance = 400.5, last_move_id = last_move_id + 1 WHERE account_id = {WALLET_ID}",
    # A move that fills the balance beyond its bound, with the failed check ignored.
    f"INSERT OR IGNORE INTO moves VALUES (9000, 1, 1, {BANK_ID}, 0, NULL, {WALLET_ID}, 0, 410, 10, 'VND')",
    f"INSERT OR IGNORE INTO moves VALUES (9000, 1, 2, {BANK_ID}, 0, NULL, {WALLET_ID}, 0, 410, 10, 'VND')",
    f"INSERT OR IGNORE INTO moves VALUES (NULL, 1, 2, {BANK_ID}, 0, NULL, {WALLET_ID}, 0, 410, 10, 'VND')",
]


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_sqlite_has_no_way_around_on_a_connection_without_settings(books: Store) -> None:
    before = await everything(books)
    # No foreign keys, no recursive triggers: what the sqlite3 shell gives.
    connection = sqlite3.connect(str(books.writer.url.database))
    try:
        for statement in SQLITE_WAYS_AROUND:
            with pytest.raises(sqlite3.IntegrityError, match="ledger: "), connection:
                connection.execute(statement)
            assert await everything(books) == before, statement
    finally:
        connection.close()


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
@pytest.mark.parametrize("or_what", ["OR IGNORE", "OR REPLACE", "OR FAIL"])
async def test_sqlite_does_not_ignore_a_failed_check(books: Store, or_what: str) -> None:
    for move in (
        RawMove("wallet:2", "wallet:1", 1, -1, 401),
        RawMove("bank:clearing", "wallet:1", 10, None, 411),
        RawMove("bank:clearing", "wallet:1", 0.5, None, 400.5),
        RawMove("bank:clearing", "wallet:1", "'ten'", None, 410),
        RawMove("bank:clearing", "wallet:1", 10**18, None, 10**18 + 400),
    ):
        await refused_moves(books, str(move), [move], or_what)


async def test_money_goes_on_after_all_that(books: Store) -> None:
    await booked(books, lambda book: book.post(reference="r", kind="k", moves=[transfer(WALLET, OTHER, vnd(400))]))
    await booked(books, lambda book: book.void("open"))

    assert (await balance_of(books, WALLET), await balance_of(books, OTHER)) == (100, 400)
    await assert_sound(books)
