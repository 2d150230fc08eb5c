"""Migrations lead to exactly the tables that are defined, once, whoever runs them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

import hub.flow.tables
import hub.ledger.ddl
import hub.seal.tables
import hub.store.migrations
import hub.store.tables
import hub.store.tables_archive
import hub.transports.tables
from hub.errors import ConfigError
from hub.store.metadata import metadata
from hub.store.readiness import Branch, branches_of, is_current, prepare
from hub.store.schema import current, pending, scripts_of, upgrade
from hub.store.store import Store
from tests.integration.store.catalogue import Catalogue, catalogue_of
from tests.support.databases import DIALECTS, Databases, all_capabilities

assert hub.ledger.ddl, (
    hub.flow.tables,
    hub.seal.tables,
    hub.store.tables,
    hub.store.tables_archive,
    hub.transports.tables,
)  # they define tables and what comes with them

CAPABILITIES = all_capabilities()
INITIAL = [
    f"{name} {file.name[:4]}"
    for name, folder in [
        ("hub", Path(hub.store.migrations.__file__).parent / "versions"),
        *((one.name, one.migrations) for one in CAPABILITIES if one.migrations is not None),
    ]
    for file in sorted(folder.glob("[0-9]*.py"))
]
HUB_ONLY = [line for line in INITIAL if line.startswith("hub ")]


@pytest.fixture(params=DIALECTS)
async def empty_url(request: pytest.FixtureRequest, databases: Databases) -> AsyncIterator[str]:
    """A database without any table."""
    address = await databases.empty(request.param)
    yield address
    await databases.drop(address)


@pytest.fixture
async def empty(empty_url: str) -> AsyncIterator[Store]:
    opened = Store.open(empty_url, pool_size=4)
    yield opened
    await opened.close()


async def _catalogue(store: Store) -> Catalogue:
    async with store.reading() as conn:
        return await catalogue_of(conn)


async def _define(store: Store) -> None:
    async with store.writer.begin() as conn:
        for tables in (metadata, *(one.tables for one in CAPABILITIES if one.tables is not None)):
            for table in tables.tables.values():
                for constraint in table.foreign_key_constraints:
                    # What PostgreSQL was given by ALTER, SQLAlchemy leaves out of every later CREATE of this process.
                    constraint._create_rule = None
            await conn.run_sync(tables.create_all)


async def test_the_migrated_schema_is_the_defined_one(store: Store, databases: Databases) -> None:
    address = await databases.empty(store.dialect)
    straight = Store.open(address, pool_size=2)

    await _define(straight)

    migrated, defined = await _catalogue(store), await _catalogue(straight)
    await straight.close()
    await databases.drop(address)
    for name, lines in defined.items():
        assert lines or name == "functions", f"nothing was read about {name}"
        assert migrated[name] == lines, name


async def test_every_capability_with_tables_brings_migrations() -> None:
    lacking = [one.name for one in CAPABILITIES if one.tables is not None and one.migrations is None]

    assert lacking == []


async def test_an_upgrade_tells_what_it_ran_and_runs_it_once(empty: Store) -> None:
    assert set((await current(empty, CAPABILITIES)).values()) == {None}
    assert await pending(empty, CAPABILITIES) == INITIAL

    first = await upgrade(empty, CAPABILITIES)
    second = await upgrade(empty, CAPABILITIES)

    assert (first, second) == (INITIAL, [])
    assert await pending(empty, CAPABILITIES) == []
    assert await current(empty, CAPABILITIES) == dict(line.split() for line in INITIAL)


async def test_two_processes_that_upgrade_at_once_do_it_once(empty_url: str) -> None:
    stores = [Store.open(empty_url, pool_size=2) for _ in range(4)]

    done = await asyncio.gather(*(upgrade(store, CAPABILITIES) for store in stores))

    assert sorted(done) == [[], [], [], INITIAL]
    for store in stores:
        await store.close()


async def test_a_migration_that_fails_leaves_nothing_behind(empty: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.ledger.ddl, "_CREATE", dict.fromkeys(DIALECTS, ("SELECT nonsense FROM nowhere",)))

    with pytest.raises(Exception, match="nowhere"):
        await upgrade(empty, CAPABILITIES)

    assert all(not lines for lines in (await _catalogue(empty)).values())


async def test_a_database_newer_than_the_program_is_refused(store: Store) -> None:
    async with store.writer.begin() as conn:
        await conn.execute(text("UPDATE alembic_version SET version_num = '0999'"))

    with pytest.raises(
        ConfigError, match=rf"newer than this program: hub is at 0999, known is up to {HUB_ONLY[-1][4:]}"
    ):
        await upgrade(store, CAPABILITIES)


async def test_a_capability_that_is_left_out_keeps_its_place(store: Store) -> None:
    fewer = CAPABILITIES[:1]

    assert await upgrade(store, fewer) == []
    assert await upgrade(store, CAPABILITIES) == []


async def test_a_start_that_may_not_upgrade_says_what_to_do(empty: Store) -> None:
    assert await prepare(empty, (), may_upgrade=False) == HUB_ONLY

    if empty.dialect == "sqlite":
        assert await prepare(empty, CAPABILITIES, may_upgrade=False) == INITIAL[len(HUB_ONLY) :]
        return
    with pytest.raises(ConfigError, match=r"lacks .*\d{4}: run `hub db upgrade` first"):
        await prepare(empty, CAPABILITIES, may_upgrade=False)


async def test_a_start_sees_by_itself_that_nothing_is_missing(empty: Store) -> None:
    assert not await is_current(empty, CAPABILITIES)

    await upgrade(empty, CAPABILITIES[:1])
    assert await is_current(empty, CAPABILITIES[:1])
    assert not await is_current(empty, CAPABILITIES)

    async with empty.writer.begin() as conn:
        await conn.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    assert not await is_current(empty, CAPABILITIES[:1])


@pytest.mark.parametrize("branch", branches_of(CAPABILITIES), ids=lambda branch: branch.name)
def test_the_newest_migration_is_known_from_the_files_alone(branch: Branch) -> None:
    assert branch.newest == scripts_of(branch).get_current_head()


@pytest.mark.parametrize(
    "chain",
    [
        {"a": None, "b": None},
        {"a": None, "b": "a", "c": "a"},
        {"a": None, "c": "b"},
        {"a": "b", "b": "a"},
        {"a": None, "b": "a", "": "b"},
    ],
    ids=["two beginnings", "two ends", "a gap", "a ring", "one without its number"],
)
def test_a_chain_that_is_not_plain_has_no_newest_migration(tmp_path: Path, chain: dict[str, str | None]) -> None:
    for number, (revision, before) in enumerate(chain.items()):
        named = f'revision = "{revision}"' if revision else ""
        quoted = f'"{before}"' if before else "None"
        (tmp_path / f"{number}.py").write_text(f"{named}\ndown_revision = {quoted}\n")

    assert Branch("one", tmp_path, "alembic_version_one").newest is None
