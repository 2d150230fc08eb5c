"""``make screenshots``: every page of the console, wide and narrow, light and dark, as pictures to look at."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from playwright.async_api import Browser, Page

from hub.store import tables as t
from tests.browser.chromium import WAIT_MS_MAX, chromium, chromium_path
from tests.browser.stage import LARGE, PASSWORD, staged
from tests.support.running import RunningHub

WIDTHS = (1280, 390)
HEIGHT = 900


async def paths_of(hub: RunningHub) -> dict[str, str]:
    """Name → path of every page that looks, with something to see."""
    tags, conflicts, deliveries = [await hub.rows(table) for table in (t.tags, t.conflicts, t.deliveries)]
    large = next(row.event_id for row in tags if row.value == LARGE)
    stuck = next(row.event_id for row in deliveries if row.state == "parked")
    return {
        "overview": "/",
        "check": "/check",
        "events": "/events",
        "found": f"/events?q={LARGE}",
        "event": f"/events/{large}",
        "event-parked": f"/events/{stuck}",
        "rehearsal": f"/events/{stuck}/rehearsal",
        "replay": f"/events/{stuck}/replay",
        "edit": f"/events/{stuck}/edit",
        "parked": "/parked",
        "undecided": "/undecided",
        "reviews": "/reviews",
        "conflicts": "/conflicts",
        "conflict": f"/conflicts/{conflicts[0].id}",
        "routes": "/routes",
        "route": "/routes/book-order",
        "ledger": "/ledger",
        "account": "/ledger/account?code=member:mia",
        "entries": "/ledger/entries",
        "entry": "/ledger/entry?reference=order:o-1",
        "calls": "/calls",
        "schedules": "/schedules",
        "capabilities": "/capabilities",
        "offered": "/capabilities/shop/files",
        "settings": "/settings",
        "audit": "/audit",
        "people": "/people",
        "error": "/ledger/entry?reference=nobody",
    }


async def sign_in(page: Page, url: str) -> None:
    """As a person does."""
    await page.goto(f"{url}/console/login")
    await page.get_by_label("Name").fill("admin")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await page.wait_for_url("**/console/")


async def take(hub: RunningHub, browser: Browser, folder: Path, only: set[str]) -> None:
    """All pages in all widths; those in the dark with a proof."""
    paths = await paths_of(hub)
    for scheme in ("light", "dark"):
        for width in WIDTHS:
            page = await browser.new_page(
                viewport={"width": width, "height": HEIGHT}, color_scheme="dark" if scheme == "dark" else "light"
            )
            page.set_default_timeout(WAIT_MS_MAX)
            await page.goto(f"{hub.url}/console/login")
            await page.screenshot(path=folder / f"login-{width}-{scheme}.png", full_page=True)
            await sign_in(page, hub.url)
            if scheme == "dark":
                await prove(page, hub.url)
            for name, path in paths.items():
                if not only or name in only:
                    await page.goto(f"{hub.url}/console{path}")
                    await page.screenshot(path=folder / f"{name}-{width}-{scheme}.png", full_page=True)
            if not only or "preview" in only:
                await preview(page, hub.url)
                await page.screenshot(path=folder / f"preview-{width}-{scheme}.png", full_page=True)
            await page.close()


async def prove(page: Page, url: str) -> None:
    """Have everything accounted for."""
    await page.goto(f"{url}/console/check")
    await page.get_by_role("button", name="Prove it now").click()
    await page.get_by_role("status").wait_for()


async def preview(page: Page, url: str) -> None:
    """What a retry of all that is parked would do; nothing is changed."""
    await page.goto(f"{url}/console/parked")
    await page.get_by_label("Which").select_option("all")
    await page.get_by_role("button", name="Preview a retry").click()
    await page.wait_for_url("**/parked/preview")


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*", default=[], help="names of pages; default: all")
    arguments = parser.parse_args()
    if not chromium_path():
        print("error: chromium is not installed. Run this, then try again:\n  sudo apt-get install -y chromium")
        return 1
    folder: Path = arguments.folder
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        async with staged(Path(home)) as hub, chromium() as browser:
            await take(hub, browser, folder, set(arguments.only))
    print(f"The pictures are in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
