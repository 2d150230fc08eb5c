"""The browser of this machine: Debian's chromium, driven by playwright, which brings none of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, async_playwright

WAIT_MS_MAX = 30_000.0
"""How long a page may take on a crowded machine."""


def chromium_path() -> str:
    """Where it is; empty where there is none. HUB_TEST_CHROMIUM names another one."""
    return os.environ.get("HUB_TEST_CHROMIUM") or shutil.which("chromium") or ""


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """The browser, without a window."""
    arguments = ["--no-sandbox"] if os.getuid() == 0 else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium_path(), args=[*arguments, "--disable-gpu", "--disable-dev-shm-usage"]
        )
        try:
            yield browser
        finally:
            await browser.close()
