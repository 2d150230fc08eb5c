"""Books that were changed behind the back of the rules are found out."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from hub.ledger import Account, Book, Move, transfer
from hub.ledger.account_rows import TOUCH_POSTGRESQL
from hub.ledger.ddl import create_statements
from hub.ledger.verify import CHECKS, verify
from hub.store.direct import rows_of
from hub.store.store import Store
from tests.integration.ledger.samples import BANK, OTHER, SALES, WALLET, assert_sound, booked, vnd

_ID_OF = "(SELECT id FROM accounts WHERE code = '{}')"
WALLET_ID = _ID_OF.format("wallet:1")
SALES_ID = _ID_OF.format("sales")
NEWEST = "(SELECT max(id) FROM moves)"

CORRUPTIONS: list[tuple[str, str]] = [
    ("balance", f"UPDATE balances SET balance = balance + 1 WHERE account_id = {WALLET_ID}"),
    ("balance", f"DELETE FROM moves WHERE id = {NEWEST}"),
    ("last move of a balance", f"UPDATE balances SET last_move_id = 1 WHERE account_id = {WALLET_ID}"),
    ("moves without a balance", f"DELETE FROM balances WHERE account_id = {WALLET_ID}"),
    ("balances of an account", "DELETE FROM balances WHERE account_id = " + _ID_OF.format("wallet:2")),
    ("balances of an account", f"INSERT INTO balances VALUES ({WALLET_ID}, 3, 0, 0)"),
    ("balance without an account", "INSERT INTO balances VALUES (4711, 0, 0, 0)"),
    ("running balance", f"UPDATE moves SET credit_after = credit_after + 1 WHERE credit_account = {WALLET_ID}"),
    ("running balance", f"UPDATE moves SET debit_after = NULL WHERE debit_account = {WALLET_ID}"),
    ("running balance of a summed account", f"UPDATE moves SET credit_after = 5 WHERE credit_account = {SALES_ID}"),
    ("balance below zero", f"UPDATE moves SET amount = 600 WHERE debit_account = {WALLET_ID}"),
    ("move", "UPDATE moves SET amount = -1 WHERE id = 1"),
    ("move", "UPDATE moves SET currency = 'JPY' WHERE id = 1"),
    ("move", "UPDATE moves SET entry_id = 4711 WHERE id = 1"),
    ("move", "UPDATE moves SET debit_account = 4711 WHERE id = 1"),
    ("move", "UPDATE moves SET debit_account = credit_account WHERE id = 1"),
    ("moves of an entry", f"DELETE FROM moves WHERE id = {NEWEST}"),
    ("moves of an entry", "UPDATE entries SET move_count = 3 WHERE reference = 'in'"),
    ("reversed entry", "UPDATE entries SET reverses = 4711 WHERE reference = 'in'"),
    ("sum of a currency", f"UPDATE balances SET balance = balance + 1 WHERE account_id = {SALES_ID} AND slot = 0"),
    ("held account", "UPDATE holds SET captured = captured - 1 WHERE reference = 'open'"),
    ("held account", "UPDATE holds SET amount = amount + 1 WHERE reference = 'open'"),
    ("hold", "UPDATE holds SET amount = amount + 1 WHERE reference = 'open'"),
    ("hold", "UPDATE entries SET hold_id = NULL WHERE reference = 'part'"),
    ("state of a hold", "UPDATE holds SET state = 'voided' WHERE reference = 'open'"),
]


@pytest.fixture
async def books(store: Store) -> Store:
    async def work(book: Book) -> None:
        await book.lock([OTHER])
        await book.post(reference="in", kind="k", moves=[Move(BANK, WALLET, vnd(500))])
        await book.post(reference="pay", kind="k", moves=[transfer(WALLET, SALES, vnd(100))])
        await book.hold(WALLET, vnd(70), reference="open")
        await book.capture("open", reference="part", to=SALES, amount=vnd(30))
        await book.reverse("pay", reference="back")

    await booked(store, work)
    return store


async def without_rules(conn: AsyncConnection) -> None:
    """Switch the rules of the books off, as somebody who owns the database can."""
    if conn.dialect.name == "postgresql":
        await conn.execute(text("SET LOCAL session_replication_role = replica"))
        names = await conn.scalars(
            text(
                "SELECT format('ALTER TABLE %s DROP CONSTRAINT %s', conrelid::regclass, conname) FROM pg_constraint"
                " WHERE contype = 'c' AND conrelid = ANY (ARRAY['moves', 'holds', 'entries']::regclass[])"
            )
        )
        for name in names.all():
            await conn.execute(text(name))
        return
    await conn.execute(text("PRAGMA ignore_check_constraints = ON"))
    for name in (await conn.scalars(text("SELECT name FROM sqlite_master WHERE type = 'trigger'"))).all():
        await conn.execute(text(f"DROP TRIGGER {name}"))


async def test_sound_books_show_no_difference(books: Store) -> None:
    await assert_sound(books)


async def test_every_check_finds_what_it_is_for(books: Store) -> None:
    assert {sort for sort, _ in CORRUPTIONS} == set(CHECKS)

    for sort, statement in CORRUPTIONS:

        async def work(conn: AsyncConnection, statement: str = statement) -> set[str]:
            if conn.dialect.name == "postgresql":
                await conn.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
            else:
                await conn.execute(text("PRAGMA defer_foreign_keys = ON"))
            await without_rules(conn)
            assert (await conn.execute(text(statement))).rowcount > 0, statement
            differences = []
            for name, query in CHECKS.items():
                if (await conn.execute(text(query))).first() is not None:
                    differences.append(name)
            return set(differences)

        assert sort in await books.rehearse(work), statement


async def test_a_difference_names_its_subject(books: Store) -> None:
    async def corrupt(conn: AsyncConnection) -> None:
        await without_rules(conn)
        await conn.execute(text(f"UPDATE balances SET balance = balance + 1 WHERE account_id = {WALLET_ID}"))

    await books.write(corrupt)

    async with books.reading() as conn:
        found = {difference.sort: difference for difference in await verify(conn)}
    assert set(found) == {"balance", "sum of a currency"}
    assert str(found["balance"]) == "balance: wallet:1 slot 0: expected 430, found 431"


@pytest.mark.parametrize("store", ["postgresql"], indirect=True)
async def test_locking_reads_only_the_balances_it_locks(store: Store) -> None:
    wallets = [Account(f"wallet:{number}", "VND", "credit") for number in range(3000)]
    await booked(store, lambda book: book.lock(wallets))
    known = wallets[:100]

    async def work(conn: AsyncConnection) -> str:
        columns = (
            [getattr(account, name) for account in known]
            for name in ("code", "currency", "side", "running", "may_go_negative")
        )
        rows = await rows_of(conn, f"EXPLAIN {TOUCH_POSTGRESQL}", [*columns, datetime.now(UTC), len(known)])
        return "\n".join(row[0] for row in rows)

    plan = await store.write(work)

    assert "Index Scan using pk_balances" in plan
    assert "Scan on balances" not in plan.replace("Index Scan using pk_balances on balances", "")
    assert "Scan on accounts" not in plan.replace("Index Scan using uq_accounts_code on accounts", "")


@pytest.mark.parametrize("store", ["postgresql"], indirect=True)
async def test_the_triggers_have_their_plans_pinned(store: Store) -> None:
    async with store.reading() as conn:
        settings = (
            await conn.execute(
                text("SELECT proconfig FROM pg_proc WHERE proname IN ('ledger_apply_moves', 'ledger_check_entries')")
            )
        ).scalars()
        pinned = [set(names) for names in settings]

    assert len(pinned) == 2
    assert all({"enable_hashjoin=off", "enable_mergejoin=off", "enable_seqscan=off"} <= names for names in pinned)


async def test_the_rules_are_the_texts_that_a_migration_executes(books: Store) -> None:
    query = (
        "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND tbl_name <> 'operations'"
        if books.dialect == "sqlite"
        else "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal AND tgrelid <> 'operations'::regclass"
    )
    expected = sum(statement.startswith("CREATE TRIGGER") for statement in create_statements(books.dialect))

    async with books.reading() as conn:
        assert await conn.scalar(text(query)) == expected
