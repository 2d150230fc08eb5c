"""A PgBouncer of a test's own in transaction mode, before the PostgreSQL server of the tests."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy.engine import URL, make_url

START_S_MAX = 60.0
SERVER_CONNECTIONS = 3
"""Fewer than a hub's own, so that no client keeps one."""


def program() -> str:
    """Where PgBouncer is. Skips the test where it is not installed."""
    found = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if found is None:
        pytest.skip("PgBouncer is not installed (Debian: apt-get install pgbouncer)")
    return found


@asynccontextmanager
async def pooled(address: str) -> AsyncIterator[str]:
    """The same database through a pooler."""
    path, url = program(), make_url(address)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    # Readable for the user that it becomes: it refuses to be root.
    with tempfile.TemporaryDirectory(prefix="pgbouncer-") as name:
        configuration = _configure(Path(name), url, port)
        as_user = ["-u", "postgres"] if os.getuid() == 0 else []
        process = await asyncio.create_subprocess_exec(
            *(path, "-q", *as_user, str(configuration)), stderr=asyncio.subprocess.DEVNULL
        )
        try:
            await _listens(port)
            yield url.set(host="127.0.0.1", port=port).render_as_string(hide_password=False)
        finally:
            process.kill()
            await process.wait()


def _configure(folder: Path, url: URL, port: int) -> Path:
    folder.chmod(0o755)
    users, configuration = folder / "users", folder / "ini"
    users.write_text(f'"{url.username}" "{url.password or ""}"\n')
    configuration.write_text(
        f"[databases]\n* = host={url.host} port={url.port or 5432}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = trust\nauth_file = {users}\n"
        f"pool_mode = transaction\ndefault_pool_size = {SERVER_CONNECTIONS}\nmax_client_conn = 200\n"
    )
    return configuration


async def _listens(port: int) -> None:
    async with asyncio.timeout(START_S_MAX):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                await writer.wait_closed()
                return
