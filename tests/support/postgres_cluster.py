"""A PostgreSQL server of a test's own, to be stopped and started again without disturbing anybody else.

PostgreSQL refuses to be root: where the tests are, the server becomes the user ``postgres``.
"""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from tests.support.processes import command, free_port

SYSTEM_USER = "postgres"
ROLE = "hub_faults"
CONNECT_S_MAX = 60.0


class PostgresCluster:
    """One server with its own data. What is committed is on the disk, as in production."""

    def __init__(self, programs: Path, folder: Path, user: str | None) -> None:
        self._programs = programs
        self._data = folder / "data"
        self._user = user
        self._port = free_port()
        self._options = f"-p {self._port} -h 127.0.0.1 -k {folder}"

    async def start(self) -> None:
        """Start it; it answers then."""
        log = self._data.parent / "log"
        await self._run("pg_ctl", "start", "-w", "-D", str(self._data), "-l", str(log), "-o", self._options)

    async def stop(self, mode: str) -> None:
        """``fast`` ends everybody's transactions, ``immediate`` is a crash."""
        await self._run("pg_ctl", "stop", "-w", "-D", str(self._data), "-m", mode)

    async def new_database(self) -> str:
        """The address of an empty database."""
        name = f"hub_test_{uuid4().hex[:12]}"
        connection = await asyncpg.connect(self._url("postgres"), timeout=CONNECT_S_MAX)
        try:
            await connection.execute(f"CREATE DATABASE {name}")
        finally:
            await connection.close()
        return self._url(name)

    async def initialise(self) -> None:
        """Make its data. Durable are the commits to come, not this."""
        await self._run("initdb", "--no-sync", "--auth=trust", f"--username={ROLE}", "-D", str(self._data))

    def _url(self, database: str) -> str:
        return f"postgresql://{ROLE}@127.0.0.1:{self._port}/{database}"

    async def _run(self, program: str, *arguments: str) -> None:
        environ = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
        await command(str(self._programs / program), *arguments, env=environ, user=self._user)


@asynccontextmanager
async def postgres_cluster() -> AsyncIterator[PostgresCluster]:
    """A server that answers. Skips the test where PostgreSQL's programs are not installed."""
    programs = _programs()
    is_root = os.getuid() == 0
    # A short path: the server puts a socket there.
    with tempfile.TemporaryDirectory(prefix="hub-pg-", ignore_cleanup_errors=True) as folder:
        if is_root:
            owner = pwd.getpwnam(SYSTEM_USER)
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        cluster = PostgresCluster(programs, Path(folder), SYSTEM_USER if is_root else None)
        await cluster.initialise()
        await cluster.start()
        try:
            yield cluster
        finally:
            with suppress(RuntimeError):  # a test may have failed while it was stopped
                await cluster.stop("immediate")


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    named = shutil.which("pg_ctl")
    if named is None:
        pytest.skip("no initdb and pg_ctl to start a PostgreSQL server of our own with")
    return Path(named).resolve().parent
