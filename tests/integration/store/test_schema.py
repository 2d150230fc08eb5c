"""Migrations lead to exactly the tables that are defined, once, whoever runs them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import delete, insert, select, text

import hub.flow.tables
import hub.ledger.ddl
import hub.seal.tables
import hub.store.migrations
import hub.store.tables
import hub.store.tables_archive
import hub.transports.tables
from hub.errors import ConfigError
from hub.store.metadata import metadata
from hub.store.migrations.draft import since_of
from hub.store.readiness import Branch, branches_of, is_current, prepare
from hub.store.schema import ahead, compatible_since, current, pending, scripts_of, upgrade
from hub.store.store import Store
from hub.store.tables_schema import compatibility
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


async def _become_newer(store: Store, *, since: str | None) -> None:
    """As a later version leaves the database: with migrations that nobody here knows, and its word on who may work."""
    async with store.writer.begin() as conn:
        await conn.execute(text("UPDATE alembic_version SET version_num = '0999'"))
        await conn.execute(delete(compatibility).where(compatibility.c.branch == "hub"))
        if since is not None:
            await conn.execute(insert(compatibility), [{"branch": "hub", "since": since}])


async def test_a_program_works_on_a_newer_database_that_allows_it(store: Store) -> None:
    await _become_newer(store, since=HUB_ONLY[-1].split()[1])

    assert await prepare(store, CAPABILITIES, may_upgrade=False) == []
    assert await upgrade(store, CAPABILITIES) == []
    assert await ahead(store, CAPABILITIES) == ["hub 0999"]
    assert (await current(store, CAPABILITIES))["hub"] == "0999"


@pytest.mark.parametrize("since", ["0999", "0998", None])
async def test_a_database_too_new_for_the_program_is_refused(store: Store, since: str | None) -> None:
    await _become_newer(store, since=since)

    too_new = rf"too new for this program: hub is at 0999, known is up to {HUB_ONLY[-1][4:]}"
    for start in (upgrade, prepare):
        with pytest.raises(ConfigError, match=too_new):
            await start(store, CAPABILITIES)


async def test_an_older_program_keeps_the_word_of_the_newer_one(empty: Store) -> None:
    """Its own migrations of another branch, which the newer one lacks, run beside."""
    await upgrade(empty, ())
    await _become_newer(empty, since="0003")

    assert await upgrade(empty, CAPABILITIES) == INITIAL[len(HUB_ONLY) :]

    async with empty.reading() as conn:
        said = {row.branch: row.since for row in await conn.execute(select(compatibility))}
    assert said.pop("hub") == "0003"
    assert said.keys() == {line.split()[0] for line in INITIAL[len(HUB_ONLY) :]}


async def test_the_database_keeps_the_strictest_word_of_its_migrations(store: Store) -> None:
    async with store.reading() as conn:
        said = {row.branch: row.since for row in await conn.execute(select(compatibility))}

    assert said == {one.name: compatible_since(scripts_of(one)) for one in branches_of(CAPABILITIES)}


@pytest.mark.parametrize(
    ("words", "since"),
    [
        ((None, None, None), "0003"),
        ((None, None, "0002"), "0002"),
        ((None, "0001", "0001"), "0001"),
        ((None, "0002", "0001"), "0002"),
        (("None",), "0001"),
    ],
    ids=["nothing said", "the one before", "two steps apart", "a strict one in between", "the first, as it is drafted"],
)
def test_a_migration_says_how_old_a_program_may_be(tmp_path: Path, words: tuple[str | None, ...], since: str) -> None:
    for number, word in enumerate(words, 1):
        before = f'"{number - 1:04}"' if number > 1 else "None"
        said = f"compatible_since = {word if word == 'None' else repr(word)}\n" if word else ""
        (tmp_path / f"{number:04}.py").write_text(f'revision = "{number:04}"\ndown_revision = {before}\n{said}')

    assert compatible_since(scripts_of(Branch("one", tmp_path, "alembic_version_one"))) == since


def test_however_many_are_drafted_for_one_version_the_version_before_may_work(tmp_path: Path) -> None:
    branch = Branch("one", tmp_path, "alembic_version_one")
    assert since_of(scripts_of(branch)) is None

    for number in range(1, 5):
        before = f'"{number - 1:04}"' if number > 1 else "None"
        # The first two are the version before, which says nothing; the others are as they were drafted.
        said = f'compatible_since = "{since_of(scripts_of(branch))}"\n' if number > 2 else ""
        (tmp_path / f"{number:04}.py").write_text(f'revision = "{number:04}"\ndown_revision = {before}\n{said}')

    assert compatible_since(scripts_of(branch)) == "0002"


@pytest.mark.parametrize("branch", branches_of(CAPABILITIES), ids=lambda branch: branch.name)
def test_what_a_migration_says_is_a_migration_before_it_or_itself(branch: Branch) -> None:
    known = [script.revision for script in scripts_of(branch).walk_revisions()][::-1]

    for place, script in enumerate(list(scripts_of(branch).walk_revisions())[::-1]):
        assert (getattr(script.module, "compatible_since", None) or script.revision) in known[: place + 1]


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
