"""The console in a browser, as the person on call uses it. One hub and one browser serve all of these."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect
from sqlalchemy import select

from hub.store import tables as t
from tests.browser.chromium import WAIT_MS_MAX, chromium, chromium_path
from tests.browser.screenshots import paths_of, sign_in
from tests.browser.shop import CLOSED
from tests.browser.stage import LARGE, SMALL, STUCK, staged
from tests.support.databases import Databases
from tests.support.running import RunningHub, until

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(
        not chromium_path() and not os.environ.get("HUB_TEST_CHROMIUM"), reason="chromium is not installed"
    ),
]
AXE = Path(__file__).parent / "vendor/axe.min.js"
TYPICAL = ("event", "parked", "routes")
"""What the others are made of; HUB_TEST_LONG=1 looks at each of them."""
SERIOUS = ("serious", "critical")
CROWDED = """(() => {
  const boxes = [...document.querySelectorAll("main :is(input, select, textarea, button, a.button)")]
    .filter((one) => !one.closest("thead"))
    .map((one) => [one.name || one.textContent, one.getBoundingClientRect()]).filter(([, box]) => box.width > 1);
  const over = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
    && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
  const pairs = boxes.flatMap(([name, box], at) =>
    boxes.slice(at + 1).filter(([, other]) => over(box, other)).map(([other]) => `${name} lies over ${other}`));
  const cut = [...document.querySelectorAll("main .table")].filter((one) => one.scrollWidth > one.clientWidth + 1);
  return [...pairs, ...cut.map((one) => `${one.getAttribute("aria-label")} is cut`)];
})()"""
"""Controls that lie over one another, and tables of which a part is out of sight."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory, databases: Databases) -> AsyncIterator[RunningHub]:
    address = await databases.fresh("sqlite")
    async with staged(tmp_path_factory.mktemp("browser"), address) as hub:
        yield hub
    await databases.drop(address)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page(stage: RunningHub, browser: Browser) -> AsyncIterator[Page]:
    """One page, signed in; what it complains about must be nothing."""
    opened = await browser.new_page(viewport={"width": 1280, "height": 900})
    opened.set_default_timeout(WAIT_MS_MAX)
    expect.set_options(timeout=WAIT_MS_MAX)
    complaints: list[str] = []
    opened.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("dialog", lambda dialog: dialog.accept())
    await sign_in(opened, stage.url)
    yield opened
    assert complaints == [], "scripts, styles and the content policy agree"


async def test_the_first_page_says_what_is_stuck_and_renews_itself(stage: RunningHub, page: Page) -> None:
    await page.goto(f"{stage.url}/console/")
    verdict = page.get_by_label("Verdict")

    await expect(verdict).to_contain_text(re.compile(r"\d deliver(y|ies) parked"))
    await expect(verdict).to_contain_text("1 event came again with other content")
    async with page.expect_response(lambda response: response.url.endswith("/console/") and response.status == 200):
        pass
    await expect(verdict).to_be_visible()


async def test_an_event_is_found_by_its_order_code_and_says_why_a_rule_left_it(page: Page) -> None:
    await page.keyboard.press("/")
    await page.keyboard.type(SMALL)
    await page.keyboard.press("Enter")
    await page.get_by_role("link", name=re.compile("^[0-9a-f]{8}-")).first.click()

    rule = page.locator("#rules tr", has_text="tell-fraud-desk")
    await expect(rule).to_contain_text("data.amount >= 100000 is false")
    await expect(rule).to_contain_text("4500")
    await expect(page.get_by_label("Body")).to_contain_text("***")


async def test_a_parked_delivery_is_retried_with_a_reason_and_goes_through(stage: RunningHub, page: Page) -> None:
    await page.keyboard.press("g")
    await page.keyboard.press("p")
    row = page.locator("tr", has_text=STUCK)
    await row.get_by_role("checkbox").check()
    await page.get_by_role("button", name="Preview a retry").click()
    await expect(page.locator("tr", has_text=STUCK).first).to_contain_text("would fail again")
    CLOSED.discard("b")
    await page.go_back()
    await page.locator("tr", has_text=STUCK).get_by_role("checkbox").check()
    await page.get_by_role("button", name="Preview a retry").click()
    await expect(page.locator("tr", has_text=STUCK).first).to_contain_text("would succeed")
    await page.get_by_label("Why").fill("the shelf is full again")
    await page.get_by_role("button", name="Retry 1").click()

    await expect(page.get_by_role("status")).to_contain_text("Run again: 1.")
    # Others of this hub never end: only this one is waited for.
    await until(lambda: _is_tagged(stage, STUCK), "the order to be booked")
    async with stage.hub.store.reading() as conn:
        [(event_id,)] = await conn.execute(select(t.tags.c.event_id).where(t.tags.c.value == STUCK))
    await page.goto(f"{stage.url}/console/events/{event_id}")
    await expect(page.get_by_role("heading", name=re.compile("book-order"))).to_contain_text("done")
    await expect(page.get_by_text("the shelf is full again")).to_be_visible()


async def test_a_route_is_paused_and_resumed_and_the_picture_shows_it(stage: RunningHub, page: Page) -> None:
    await page.goto(f"{stage.url}/console/routes")
    picture = page.get_by_role("region", name="Picture of the wiring")
    await expect(picture.locator("a.node.route")).to_have_count(7)
    await picture.locator("a", has_text="look-at-refund").click()
    await page.get_by_label("Why").fill("the desk is closed")
    await page.get_by_role("button", name="Pause").click()
    await expect(page.get_by_text(re.compile("route look-at-refund paused since"))).to_contain_text(
        "the desk is closed"
    )
    await page.goto(f"{stage.url}/console/routes")
    await expect(picture.locator("a.node.route.paused")).to_contain_text("look-at-refund")

    paused = page.locator("#standing-still tr", has_text="look-at-refund")
    await paused.get_by_label("Why").fill("open again")
    await paused.get_by_role("button", name="Resume").click()

    await expect(page.get_by_role("status")).to_contain_text("Going on: route look-at-refund")
    await expect(picture.locator("a.node.route.paused")).to_have_count(0)
    async with stage.hub.store.reading() as conn:
        done = {row.action for row in await conn.execute(select(t.operations)) if "look-at-refund" in row.target}
    assert done == {"route.pause", "route.resume"}


async def test_a_page_can_be_read_without_scripts(stage: RunningHub, browser: Browser) -> None:
    context = await browser.new_context(java_script_enabled=False)
    plain = await context.new_page()
    plain.set_default_timeout(WAIT_MS_MAX)
    await sign_in(plain, stage.url)

    await plain.goto(f"{stage.url}/console/events?q={LARGE}")

    await expect(plain.locator("main")).to_contain_text("order.paid")
    await context.close()


async def test_nobody_is_kept_out_of_a_page_and_none_is_wider_than_a_phone(stage: RunningHub, page: Page) -> None:
    await page.set_viewport_size({"width": 390, "height": 900})
    found: list[str] = []
    paths = await paths_of(stage)
    await until(lambda: _is_told(stage), "a call to be in doubt")
    is_long = os.environ.get("HUB_TEST_LONG", "0") != "0"
    await page.emulate_media(color_scheme="dark")
    found += await _looked_at(page, "overview, dark", f"{stage.url}/console/")
    await page.emulate_media(color_scheme="light")
    for name, path in paths.items():
        if is_long or name in TYPICAL:
            found += await _looked_at(page, name, f"{stage.url}/console{path}")

    assert found == [], "\n".join(found)


async def _looked_at(page: Page, name: str, url: str) -> list[str]:
    """What keeps people from using this page."""
    await page.goto(url)
    # By the debugger's way in: the content policy refuses scripts that are put into a page.
    await page.evaluate(AXE.read_text())
    result = await page.evaluate("axe.run({resultTypes: ['violations']})")
    found = [
        f"{name}: {one['id']} {[node['target'] for node in one['nodes']][:3]}"
        for one in result["violations"]
        if one["impact"] in SERIOUS
    ]
    width = await page.evaluate("document.documentElement.scrollWidth")
    found += [f"{name}: {width} px wide"] if width > 390 else []
    return found + [f"{name}: {one}" for one in await page.evaluate(CROWDED)]


async def _is_tagged(stage: RunningHub, value: str) -> bool:
    return any(row.value == value for row in await stage.rows(t.tags))


async def _is_told(stage: RunningHub) -> bool:
    return any(row.state == "unknown" for row in await stage.rows(t.calls))
