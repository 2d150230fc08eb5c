"""A command line on a fresh home."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest
import structlog

from hub.cli import opening
from tests.integration.cli.commanding import Cli
from tests.support.databases import Databases


@pytest.fixture
def cli(
    tmp_path: Path, databases: Databases, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Cli:
    """The project's rules, an SQLite database with all tables, and nothing of this machine's settings."""
    for name in os.environ:
        if name.startswith(("HUB_", "SEPAY_")) and not name.startswith("HUB_TEST_"):
            monkeypatch.delenv(name)
    address = asyncio.run(databases.fresh("sqlite"))
    shutil.move(address.partition("///")[2], tmp_path / "hub.db")
    # A logger remembers the stream it first wrote to, which is another one in every test.
    monkeypatch.setattr(opening, "set_up_logs", lambda **_: None)
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory(), cache_logger_on_first_use=False)
    return Cli(tmp_path, monkeypatch, capsys)
