"""A pytest plugin for who runs the same tests over and over: one template for all, and no smaller example that fails.

The template is migrated once, where HUB_TEST_SQLITE_TEMPLATE names a file, and found there by all who come later.
"""

from __future__ import annotations

import asyncio
import os
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.support import patience
from tests.support.databases import Databases, _migrate

TEMPLATE = "HUB_TEST_SQLITE_TEMPLATE"
PATIENCE_S = 10.0
"""How long a test waits for what is broken and does nothing any more. The unbroken hub has as long as everywhere."""


@pytest.hookimpl(trylast=True)
def pytest_configure() -> None:
    """Be quick."""
    hypothesis.settings.register_profile(
        "quick",
        hypothesis.settings.get_profile("hub"),
        # Nobody waits for a smaller example.
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        derandomize=True,
        database=None,
        report_multiple_bugs=False,
    )
    hypothesis.settings.load_profile("quick")
    if name := os.environ.get(TEMPLATE):
        give_template(Path(name))
        # Before any test takes it from there by name.
        patience.until = impatient(2 * PATIENCE_S)


@cache
def give_template(template: Path) -> None:
    """Every ``Databases`` begins with this template, which is made where it is not there."""
    if not template.exists():
        asyncio.run(_migrate(f"sqlite+aiosqlite:///{template}"))
    original: Any = Databases.__init__

    def made(self: Any, folder: Path) -> None:
        original(self, folder)
        self._sqlite_template = template

    Databases.__init__ = made  # type: ignore[method-assign]


@cache
def impatient(most_s: float) -> Any:
    """``patience.until`` that waits no longer than this."""
    until = patience.until

    async def soon(*given: Any, deadline_s: float = most_s, **more: Any) -> None:
        await until(*given, deadline_s=min(deadline_s, most_s), **more)

    return soon
