"""The doors that no description lists: every page and action of the console, and a webhook whose sender is proven.

A few examples of each with the other tests, drawn by HUB_TEST_SEED. With ``HUB_TEST_FUZZ_EXAMPLES`` so many are spread
over both and over the pages that capabilities bring.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import pytest
from yarl import URL

from hub.console.app import Console
from hub.console.visit import Place
from hub.operate.equation import check
from hub.store import tables as t
from tests.browser.stage import KEY, PASSWORD, Visitor, order, staged
from tests.hostile.http.bodies import BODIES
from tests.hostile.http.fuzz import EXAMPLES, IS_LONG
from tests.integration.console.conftest import cheap_hashes
from tests.support.processes import free_port
from tests.support.running import RunningHub, environment, running

__all__ = ["cheap_hashes"]

SEED: Final = int(os.environ.get("HUB_TEST_SEED", "1"))
LONG_S_MAX: Final = 7_200
FEW: Final = 30
NAMES: Final = re.findall(
    r"\w+",
    "action actor after all back before code currency day delivery for from key kind month name next outcome payload "
    "prefix provider q reason reference route session since source state tag target to type until which",
)
"""Of what is asked for in queries and in forms."""
NOBODY: Final = "00000000-0000-0000-0000-000000000000"
HALF_A_CHARACTER: Final = "\ud800"
TEXTS: Final = (
    "",
    "0",
    "-1",
    "9" * 30,
    "1e309",
    "NaN",
    "true",
    "all",
    "retry",
    "discard",
    "ticked",
    "mia",
    "shop",
    "book-order",
    "acme",
    "order_code=",
    "=",
    "2d",
    "-5m",
    "99999999999999d",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59+14:00",
    "2026-02-30",
    NOBODY,
    "' OR 1=1 --",
    "%",
    "_",
    "<script>",
    "{{ 7 * 7 }}",
    "a\x00b",
    HALF_A_CHARACTER,
    "\u202e\u0000\uffff",
    "\r\nX: y",
    "../../etc/passwd",
    "ポイント",
    "x" * 5_000,
)
ODD_SHARE: Final = 0.2
"""How often something else stands where something belongs."""

pytestmark = [pytest.mark.timeout(LONG_S_MAX)] if IS_LONG else []


async def test_no_page_and_no_action_of_the_console_fails(tmp_path: Path) -> None:
    async with staged(tmp_path) as hub, Visitor(hub) as visitor:
        assert await visitor.sign_in() == 303
        # Who ends the own session sees no page any more.
        places = [place for place in Console(hub.hub).places if (place.method, place.path) != ("POST", "/people")]
        await visited("console", hub, visitor, places, EXAMPLES // 2 or FEW)


async def test_no_page_that_a_capability_brings_fails(tmp_path: Path) -> None:
    more = {"HUB_CONSOLE": "on", "HUB_CONSOLE_PASSWORD": PASSWORD, "HUB_PORT": str(free_port())}
    async with running(environment(tmp_path, **more)) as hub, Visitor(hub) as visitor:
        assert await visitor.sign_in() == 303
        places = [place for place in Console(hub.hub).places if "{page" in place.path]
        await visited("pages of capabilities", hub, visitor, places, EXAMPLES // 4 or FEW)


async def test_no_body_of_a_proven_sender_fails(tmp_path: Path) -> None:
    chance, answers, wrong = random.Random(SEED), Counter[int](), []
    async with staged(tmp_path) as hub:
        for number in range(EXAMPLES // 4 or FEW):
            body = drawn_body(chance, number)
            status = await deliver(hub, body)
            answers[status] += 1
            if status >= 500 or status == 401:
                wrong.append((body[:300], status))
        await hub.settled(also=frozenset({"waiting", "calling", "retrying"}))
        assert (await check(hub.hub.store)).violations == ()
    print(f"\nwebhook: {sum(answers.values())} examples, {len(wrong)} violations, {dict(answers)}", flush=True)

    assert wrong == []


async def visited(name: str, hub: RunningHub, visitor: Visitor, places: Sequence[Place], examples: int) -> None:
    """Go to every place in turn; no answer may be the hub's fault, or take the visitor for somebody else."""
    chance, answers, wrong = random.Random(SEED), Counter[int](), []
    ids = [str(row.id) for table in (t.inbox, t.conflicts) for row in await hub.rows(table)] or [NOBODY]
    files = [
        {"capability": one.name, "page": page.name, "file": file}
        for one in hub.hub.wiring.capabilities.members
        for page in one.console
        for file in page.files or [""]
    ]
    turns = chance.sample(places, len(places))
    for number in range(examples):
        place = turns[number % len(turns)]
        path = drawn_path(place.path, {"name": "book-order", **chance.choice(files)}, chance, ids)
        fields = {chance.choice(NAMES): drawn_text(chance, ids) for _ in range(chance.randrange(4))}
        if place.method == "POST" and chance.random() > ODD_SHARE:
            fields.setdefault("reason", "because")
        status, said = await visit(visitor, place, path, fields)
        answers[status] += 1
        if status >= 500 or status in (401, 403):
            wrong.append((place.method, path, fields, status, said[-300:]))
    assert (await visitor.get("/"))[0] == 200
    print(
        f"\n{name}: {examples} examples of {len(places)} places, {len(wrong)} violations, {dict(answers)}", flush=True
    )

    assert wrong == []


def drawn_text(chance: random.Random, ids: list[str]) -> str:
    text = chance.choice(TEXTS) if chance.random() > ODD_SHARE else chance.choice(ids)
    if text and chance.random() < ODD_SHARE:
        place = chance.randrange(len(text))
        text = text[:place] + chr(chance.choice((chance.randrange(32, 127), chance.randrange(0x11000)))) + text[place:]
    return text


def drawn_path(path: str, good: Mapping[str, str], chance: random.Random, ids: list[str]) -> str:
    """A place's path with what belongs there, or with anything."""

    def part(found: re.Match[str]) -> str:
        name, _, pattern = found[1].partition(":")
        if chance.random() < ODD_SHARE:
            return quoted(drawn_text(chance, ids)) or "x"
        return good.get(name) or (chance.choice(ids) if "f" in pattern or name == "id" else str(chance.randrange(40)))

    return re.sub(r"\{(\w+(?::(?:[^{}]|\{[^{}]*\})*)?)\}", part, path)


def quoted(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode("utf-8", "surrogatepass"))


async def visit(visitor: Visitor, place: Place, path: str, fields: Mapping[str, str]) -> tuple[int, str]:
    text = "&".join(f"{name}={quoted(value)}" for name, value in fields.items())
    method: Any = visitor.http.get if place.method == "GET" else visitor.http.post
    how: dict[str, Any] = {"allow_redirects": False}
    if place.method == "POST":
        how |= {
            "data": f"csrf={visitor.csrf}&{text}".encode(),
            "headers": {"Content-Type": "application/x-www-form-urlencoded"},
        }
    address = URL(visitor.url + path + (f"?{text}" if place.method == "GET" and text else ""), encoded=True)
    async with method(address, **how) as response:
        return response.status, (await response.read()).decode(errors="replace")


def drawn_body(chance: random.Random, number: int) -> bytes:
    """An order as it should be, or one with bytes or members changed, or one that no client makes."""
    good = order(f"f-{number}", chance.choice((0, 1, -1, 2**63, 10**30)), code=chance.choice(TEXTS), customer="mia")
    kind = chance.randrange(4)
    if kind == 0:
        return chance.choice(list(BODIES.values()))[1]
    if kind == 1:
        good[chance.choice(list(good))] = chance.choice((None, [], {}, True, 1.5, "x" * 3_000, HALF_A_CHARACTER))
    body = bytearray(json.dumps(good).encode())
    if kind == 2:
        for _ in range(chance.randrange(1, 4)):
            body[chance.randrange(len(body))] = chance.randrange(256)
    return bytes(body)


async def deliver(hub: RunningHub, body: bytes) -> int:
    headers = {"Authorization": f"Apikey {KEY}"}
    async with hub.http.post(f"{hub.url}/webhooks/shop", data=BytesIO(body), headers=headers) as response:
        await response.read()
        return response.status
