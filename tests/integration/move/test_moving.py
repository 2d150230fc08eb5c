"""A hub's database goes from SQLite to PostgreSQL whole, and the hub goes on there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock
from uuid import UUID

import pytest
from sqlalchemy import Table, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from handlers.sepay.books import bank_account, vnd, wallet_account
from hub.errors import UsageError
from hub.ledger import Book, Move
from hub.ledger.tables import balances
from hub.move import moving
from hub.move.moving import move
from hub.move.rows import meaning_of
from hub.operate.equation import check
from hub.retention.archive import Archive
from hub.retention.pruning import Pruner
from hub.storage import Storage, StoragePlace
from hub.store import tables as t
from hub.store.sequences import sequences
from hub.store.store import Store
from hub.store.tables_archive import archived
from tests.integration.operate.desk import COPY, NOTE, Desk
from tests.integration.retention.archivist import AGE, OLD_S, Archivist
from tests.scenarios.bank import ACCOUNTS, MAIN_ACCOUNT, Bank
from tests.scenarios.loymax import SAMPLES, publish
from tests.scenarios.shop import LIFETIME_PRICE, PRICE, Shop
from tests.support.clock import SettableClock
from tests.support.databases import Databases, all_capabilities
from tests.support.running import environment, running

NOW = datetime(2024, 11, 15, 2, 35, 5, tzinfo=UTC)
CAPABILITIES = all_capabilities()
WALLET = UUID(int=1)


@pytest.fixture
async def target_url(databases: Databases) -> AsyncIterator[str]:
    """A database on PostgreSQL with all tables that nobody has used."""
    address = await databases.fresh("postgresql")
    yield address
    await databases.drop(address)


@pytest.fixture
async def source(databases: Databases) -> AsyncIterator[Store]:
    """A database on SQLite with all tables."""
    address = await databases.fresh("sqlite")
    opened = Store.open(address)
    yield opened
    await opened.close()
    await databases.drop(address)


def selling(home: Path, database_url: str) -> dict[str, str]:
    return environment(home, database_url, HUB_SANDBOX="0", SEPAY_ACCOUNTS=ACCOUNTS, HUB_DATABASE_BUSY_TIMEOUT_S="0.3")


async def stored(url: str, folder: Path, clock: SettableClock, storage: Storage) -> None:
    """Events with everything that they can have, the oldest of them in the archive, and money in the books."""
    store = Store.open(url)
    desk = Desk(store, clock)
    await desk.use(NOTE, COPY)
    archivist = Archivist(desk, folder, storage)
    await archivist.storied()
    clock.advance(OLD_S)
    assert (await Pruner(store, storage, clock).run(AGE)).events == 1
    await archivist.storied(2)
    await deposit(store, clock, "first", 700)
    await store.close()


async def deposit(store: Store, clock: SettableClock, reference: str, amount: int, *, slot: int = 0) -> None:
    """Money into a wallet, from an account that has several balances where the database is PostgreSQL."""

    async def work(conn: AsyncConnection) -> None:
        book = Book(conn, now=clock.now(), slot=slot)
        paid = Move(bank_account(MAIN_ACCOUNT), wallet_account(WALLET), vnd(amount))
        await book.post(reference=reference, kind="deposit", moves=[paid])
        await book.flush()

    await store.write(work)


async def test_everything_is_carried_over_and_the_books_go_on(source: Store, target_url: str, tmp_path: Path) -> None:
    clock, storage = SettableClock(NOW), Storage(StoragePlace(place=str(tmp_path / "archive")))
    await stored(url_of(source), tmp_path, clock, storage)
    before = await check(source)
    said: list[str] = []

    moved = await move(source, target_url, CAPABILITIES, said=said.append)

    filled = {one.name for one in moved.tables if one.rows}
    parts = {"inbox", "deliveries", "attempts", "calls", "outbox", "reviews", "corrections", "tags", "duplicates"}
    assert {*parts, "conflicts", "archived", "archive_objects", "entries", "moves", "balances", "lanes"} <= filled
    assert len(said) == len(moved.tables)
    assert moved.report == before
    assert before.holds, before.violations
    target = Store.open(target_url, pool_size=4)
    assert await counters(target) == await counters(source)
    [gone] = [row.event_id for row in await rows_of(source, select(archived))]
    assert (await Archive(target, storage).load(gone)).record.event_id == gone
    for slot in range(4):
        await deposit(target, clock, f"later {slot}", 50, slot=slot)
    [wallet] = await rows_of(target, select(balances.c.balance).where(balances.c.balance == 900).limit(1))
    assert wallet.balance == 700 + 4 * 50
    assert (await check(target)).violations == ()
    with pytest.raises(UsageError, match=r"is not empty: rows in .*inbox"):
        await move(source, target_url, CAPABILITIES)
    await target.close()


@pytest.mark.long
async def test_a_shop_goes_on_selling_where_it_was_moved_to(source: Store, target_url: str, tmp_path: Path) -> None:
    clock = SettableClock(NOW)
    async with running(selling(tmp_path, url_of(source)), clock=clock) as hub:
        shop = Shop(Bank(hub))
        await shop.sells(PRICE, 30)
        await shop.sells(LIFETIME_PRICE, None)
        await shop.fund(500_000)
        await shop.order()
        for number, sample in enumerate(SAMPLES[:4]):
            await publish(hub, sample, f"loymax-{number}")
        await hub.settled(also=frozenset({"ready", "retrying", "waiting"}))

    moved = await move(source, target_url, CAPABILITIES)

    rows = {one.name: one.rows for one in moved.tables}
    assert min(rows[name] for name in ("pay_wallets", "pay_symbol_orders", "local_messages", "workers")) > 0
    async with running(selling(tmp_path, target_url), clock=clock) as hub:
        shop = Shop(Bank(hub))
        shop._transfers = iter(range(2_000_000, 10**9))
        assert await shop.balance() == 500_000 - PRICE
        await shop.fund(100_000)
        await shop.order()
        assert await shop.balance() == 600_000 - 2 * PRICE
        assert len(await hub.rows(t.local_messages)) > rows["local_messages"]
        after = await check(hub.hub.store)
    assert after.violations == ()
    assert after.received > moved.report.received


def url_of(store: Store) -> str:
    return store.writer.url.render_as_string(hide_password=False)


async def counters(store: Store) -> dict[str, int]:
    """The last number that was given out, by sequence."""
    rows = await rows_of(store, select(sequences)) if store.dialect == "sqlite" else await rows_of(store, _LAST)
    return {row.name: row.value for row in rows}


_LAST = text("SELECT sequencename AS name, last_value AS value FROM pg_sequences WHERE last_value IS NOT NULL")


async def rows_of(store: Store, query: Any) -> list[Any]:
    async with store.reading() as conn:
        return list(await conn.execute(query))


def differing(table: Table, row: Sequence[Any]) -> list[object]:
    """As if no row of the inbox were the same twice."""
    return [*meaning_of(table, row), *([id(row)] if table is t.inbox else [])]


async def test_what_fails_leaves_nothing_behind_and_says_why(
    source: Store, target_url: str, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(source, clock)
    await desk.use(NOTE)
    event = await desk.event()
    # Made once: the migrations are run for it.
    seeded = await moving._seeded(CAPABILITIES)
    monkeypatch.setattr(moving, "_seeded", AsyncMock(return_value=seeded))

    async def used() -> int:
        target = Store.open(target_url, pool_size=1)
        [(count,)] = await rows_of(target, select(func.count()).select_from(t.inbox))
        await target.close()
        return int(count)

    async def refused(words: str) -> None:
        with pytest.raises(UsageError, match=words):
            await move(source, target_url, CAPABILITIES)
        assert await used() == 0

    async def sql(statement: str) -> None:
        async with source.writer.begin() as conn:
            await conn.execute(text(statement))

    await desk.change(t.inbox, key="a\x00b")
    await refused(r"inbox \(seq=1\): column key holds the character U\+0000")
    await desk.change(t.inbox, key="é" * 10, source="x" * 101)
    await refused(r"inbox cannot be copied \(22001\)")
    await desk.change(t.inbox, source="shop")
    await sql("CREATE TABLE pay_unknown (id INTEGER)")
    await refused("tables that no capability of routing.yaml knows: pay_unknown")
    await sql("DROP TABLE pay_unknown")
    await sql("INSERT INTO sequences VALUES ('strange_seq', 5)")
    await refused("counts in strange_seq")
    await sql("DELETE FROM sequences WHERE name = 'strange_seq'")
    with monkeypatch.context() as patch:
        patch.setattr(
            moving, "meaning_of", lambda table, row: [*meaning_of(table, row), *([id(row)] if table is t.inbox else [])]
        )
        await refused("is not the same after copying")
    with pytest.raises(UsageError, match="expected a database on SQLite to move from"):
        await move(Store.open(target_url, pool_size=1), target_url, CAPABILITIES)
    with pytest.raises(UsageError, match="expected a database on PostgreSQL to move to"):
        await move(source, url_of(source), CAPABILITIES)
    await sql("UPDATE alembic_version SET version_num = '0007'")
    with pytest.raises(UsageError, match=r"lacks .*run `hub db upgrade` first"):
        await move(source, target_url, CAPABILITIES)
    assert await used() == 0
    assert [row.event_id for row in await desk.deliveries(event)] == [event]
