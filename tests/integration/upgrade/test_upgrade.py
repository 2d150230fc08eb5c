"""A new version's migrations run under a hub of the version before, which goes on working, and change none of its rows.

Source: docs/upgrading.md.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, inspect, text

from hub.operate.equation import check
from hub.store.schema import current, pending, upgrade
from hub.store.store import Store
from tests.scenarios.bank import ACCOUNTS, Bank
from tests.scenarios.shop import PRICE, Shop
from tests.support.databases import Databases, all_capabilities
from tests.support.running import PROJECT, RunningHub, environment, running, until

FORMER = "92db09a"
"""The commit that the version before ends with."""
ANSWER_S_MAX = 60.0
CAPABILITIES = all_capabilities()
LIVING = frozenset({"leases", "workers", "lanes", "schedules", "seal_state"})
"""Tables that a hub writes to although nothing comes in."""
DIALECTS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.long)]


@pytest.fixture(scope="module")
def former_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source of the version before, out of git. Skips where there is no history, as in a shallow clone."""
    tree = tmp_path_factory.mktemp("former")
    archive = subprocess.run(["git", "archive", FORMER], cwd=PROJECT, capture_output=True, timeout=60, check=False)
    if archive.returncode:
        if os.environ.get("CI"):
            pytest.fail(f"git has no commit {FORMER}: {archive.stderr.decode()}")
        pytest.skip(f"git has no commit {FORMER}")
    subprocess.run(["tar", "-x"], cwd=tree, input=archive.stdout, timeout=60, check=True)
    return tree


class Former:
    """A hub of the version before, in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def says(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        async with asyncio.timeout(ANSWER_S_MAX):
            line = await self._process.stdout.readline()
        assert line, "the former hub has ended"
        said: dict[str, Any] = json.loads(line)
        return said

    async def does(self, command: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n".encode())
        await self._process.stdin.drain()
        return await self.says()

    async def stop(self) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        async with asyncio.timeout(ANSWER_S_MAX):
            return await self._process.wait()


@asynccontextmanager
async def former_hub(tree: Path, home: Path, url: str) -> AsyncIterator[Former]:
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tree), "HOME": str(home), "LANG": "C.UTF-8"}
    driver = Path(__file__).with_name("former.py")
    with (home / "former.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(driver), str(tree), str(home), url),
            cwd=tree,
            env=environ,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
    try:
        hub = Former(process)
        await hub.says()
        yield hub
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_former_hub_works_on_while_and_after_the_tables_are_upgraded(
    dialect: str, former_tree: Path, tmp_path: Path, databases: Databases
) -> None:
    url = await databases.empty(dialect)
    (home := tmp_path / "former").mkdir()
    store = Store.open(url, pool_size=4)
    async with former_hub(former_tree, home, url) as former:
        first = await former.does("sell")
        missing = await pending(store, CAPABILITIES)
        before = await still_contents(store)

        done = await asyncio.gather(upgrade(store, CAPABILITIES), upgrade(store, CAPABILITIES))

        assert missing, "the versions have the same tables: take a newer commit"
        assert sorted(done) == [[], missing]
        after = await contents(store, like=before)
        assert {name for name, rows in before.items() if after[name] != rows} == set()
        assert (await former.does("sell"))["balance"] == 2 * first["balance"] == 2 * (500_000 - PRICE)
        said = await former.does("check")
        assert (said["violations"], said["received"] > 0) == ([], True)
        if dialect == "postgresql":
            await both_work(former, url, tmp_path)
        assert await former.stop() == 0
    async with running(selling(tmp_path / "new", url)) as hub:
        shop = shop_of(hub, 2)
        balance = await shop.balance()
        await shop.fund(500_000)
        await shop.order()
        assert await shop.balance() == balance + 500_000 - PRICE
    report = await check(store)
    assert report.violations == ()
    assert report.received > said["received"]
    assert all((await current(store, CAPABILITIES)).values())
    await store.close()
    await databases.drop(url)


async def both_work(former: Former, url: str, tmp_path: Path) -> None:
    """Replicas of both versions on one database, as during a rollout."""
    async with running(selling(tmp_path / "beside", url)) as hub:
        shop = shop_of(hub, 1)
        for _ in range(3):
            before = await shop.balance()
            sold = await asyncio.gather(former.does("sell"), shop.fund(100_000))
            assert sold
            assert await shop.balance() == before + 600_000 - PRICE


def shop_of(hub: RunningHub, number: int) -> Shop:
    """Whose transfers have numbers of their own."""
    shop = Shop(Bank(hub))
    shop._transfers = iter(range(1_000_000 * (number + 1), 10**9))
    return shop


def selling(home: Path, url: str) -> dict[str, str]:
    home.mkdir(exist_ok=True)
    return environment(home, url, HUB_SANDBOX="0", SEPAY_ACCOUNTS=ACCOUNTS, SEPAY_INTENTS_PER_MINUTE_MAX="1000")


Contents = Mapping[str, tuple[tuple[str, ...], int, str]]
"""Of each table: its columns, the number of its rows, and a hash over them."""


async def still_contents(store: Store) -> Contents:
    """The same, once two looks in a row have found it so: what was accepted last may still be under way."""
    looks: list[Contents] = []

    async def is_still() -> bool:
        looks.append(await contents(store))
        return len(looks) > 1 and looks[-1] == looks[-2]

    await until(is_still, "the former hub to have done everything", pause_s=0.5)
    return looks[-1]


async def contents(store: Store, *, like: Contents | None = None) -> Contents:
    """Everything that is in the tables; with ``like``, only what was there then: these tables and these columns."""
    async with store.reading() as conn:
        return await conn.run_sync(_contents, like)


def _contents(connection: Connection, like: Contents | None) -> Contents:
    inspector = inspect(connection)
    found: dict[str, tuple[tuple[str, ...], int, str]] = {}
    for name in like or inspector.get_table_names():
        if name.startswith("alembic_version") or name in LIVING:
            continue
        columns = like[name][0] if like else tuple(one["name"] for one in inspector.get_columns(name))
        names = ", ".join(f'"{column}"' for column in columns)
        rows = sorted(repr(tuple(row)) for row in connection.execute(text(f'SELECT {names} FROM "{name}"')))
        found[name] = (columns, len(rows), hashlib.sha256("\n".join(rows).encode()).hexdigest())
    return found
