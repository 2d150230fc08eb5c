"""One daemon per SQLite database: a lock file in HUB_HOME that says who holds it, and goes with the process."""

from __future__ import annotations

import fcntl
import json
import os
from datetime import UTC, datetime
from pathlib import Path

from hub.errors import ConfigError

LOCK_FILE = "hub.lock"


class HomeLock:
    """Held for as long as the daemon runs. The operating system lets go of it however the process ends."""

    def __init__(self, home: Path, dialect: str) -> None:
        self._path = home / LOCK_FILE
        self._is_needed = dialect == "sqlite"
        self._descriptor = -1

    def take(self) -> None:
        """Raises ConfigError when another daemon works on this home, and says which, or when it is not ours to use."""
        if not self._is_needed:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ConfigError(
                f"HUB_HOME: expected a folder to write to, {self._path.parent}: {error.strerror}"
            ) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._descriptor)
            self._descriptor = -1
            raise ConfigError(
                f"HUB_HOME: {describe_holder(self._path.parent)} works on this database already; "
                "set another HUB_HOME and HUB_PORT to run a second hub beside it"
            ) from error
        os.truncate(self._descriptor, 0)
        since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        os.pwrite(self._descriptor, json.dumps({"pid": os.getpid(), "since": since}).encode(), 0)

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def describe_holder(home: Path) -> str:
    """Who holds the database, in words."""
    try:
        holder = json.loads((home / LOCK_FILE).read_text())
        # The file outlives the daemon that wrote it. Asking for the lock would tell more, but for that moment it would
        # keep a daemon from starting.
        os.kill(int(holder["pid"]), 0)
        return f"hub run (process {holder['pid']}, since {holder['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
