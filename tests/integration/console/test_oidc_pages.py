"""Signing in by an issuer, over HTTP: the way there, the way back, and what stands in the record."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest
from yarl import URL

from hub.console.people import People
from hub.store import tables as t
from tests.browser.stage import Visitor
from tests.support.oidc_issuer import CLIENT, SECRET, Issuer, issuing
from tests.support.running import RunningHub, environment, running

ANA = "oidc:ana@example.org"


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with issuing() as one:
        yield one


@pytest.fixture
async def hub(issuer: Issuer, tmp_path: Path) -> AsyncIterator[RunningHub]:
    environ = environment(
        tmp_path,
        HUB_CONSOLE_OIDC_ISSUER=issuer.url,
        HUB_CONSOLE_OIDC_CLIENT_ID=CLIENT,
        HUB_CONSOLE_OIDC_CLIENT_SECRET=SECRET,
        HUB_CONSOLE_OIDC_URL="http://localhost:8080",
        HUB_CONSOLE_OIDC_ROLES="ops=operator",
    )
    async with running(environ, roles=("ingress",)) as one:
        yield one


async def led(visitor: Visitor, path: str) -> tuple[int, URL]:
    async with visitor.http.get(visitor.url + path, allow_redirects=False) as response:
        return response.status, URL(response.headers.get("Location", ""))


async def come_back(visitor: Visitor, answer: dict[str, str]) -> tuple[int, URL]:
    return await led(visitor, f"/oidc/callback?{URL().with_query(answer).query_string}")


def cookies(visitor: Visitor) -> set[str]:
    return {one.key for one in visitor.http.cookie_jar}


async def test_somebody_signs_in_and_is_led_where_they_wanted_to_go(hub: RunningHub, issuer: Issuer) -> None:
    async with Visitor(hub) as visitor:
        _, form = await visitor.get("/login?next=/console/parked")
        assert 'href="/console/oidc/start?next=/console/parked">Sign in with 127.0.0.1' in form
        status, there = await led(visitor, f"/oidc/start?next={quote('/console/parked', safe='')}")
        answer = issuer.authorize(str(there))

        back = await come_back(visitor, answer)
        page, _ = await visitor.get("/parked")
        settings, shown = await visitor.get("/settings")
        people, _ = await visitor.get("/people")
        again, _ = await come_back(visitor, answer)

    assert (status, there.query["redirect_uri"]) == (303, "http://localhost:8080/console/oidc/callback")
    assert back == (303, URL("/console/parked"))
    assert (issuer.url in shown, SECRET in shown) == (True, False)
    assert (page, settings, people, again) == (200, 200, 403, 403)
    [word] = await hub.rows(t.operations)
    assert (word.actor, word.action) == (ANA, "console.sign_in")
    [session] = await hub.rows(t.console_sessions)
    assert (session.name, session.role) == (ANA, "operator")


async def test_the_answer_to_another_browser_signs_nobody_in(hub: RunningHub, issuer: Issuer) -> None:
    async with Visitor(hub) as victim, Visitor(hub) as attacker:
        answer = issuer.authorize(str((await led(attacker, "/oidc/start"))[1]))
        without = await come_back(victim, answer)
        await led(victim, "/oidc/start")
        crossed = await come_back(victim, answer)
        # What was refused is over: the trip cannot be tried again.
        left = cookies(victim)

        issuer.who["groups"] = ["staff"]
        trip = issuer.authorize(str((await led(attacker, "/oidc/start?next=https://evil.example"))[1]))
        status, said = await attacker.get(f"/oidc/callback?{URL().with_query(trip).query_string}")

    assert (without[0], crossed[0], left) == (403, 403, set())
    assert (status, "have no role here" in said, "evil.example" in said) == (403, True, False)
    assert await hub.rows(t.console_sessions) == []


async def test_a_session_ends_with_what_it_stood_on(hub: RunningHub, issuer: Issuer) -> None:
    async with Visitor(hub) as visitor:
        _, there = await led(visitor, "/oidc/start?next=//evil.example")
        back = await come_back(visitor, issuer.authorize(str(there)))
        first, _ = await visitor.get("/events")

    one = hub.hub
    known = one.plan.oidc.credential_of(ANA, "operator")
    # As after a start with other roles, and without an issuer.
    others = [one.plan.oidc.model_copy(update=change) for change in ({}, {"roles": "ops=viewer"}, {"issuer": ""})]
    async with one.store.reading() as conn:
        still = [
            await People(one.store, one.settings, one.doorman.keys, each).still(
                conn, ANA, "operator", lambda proof: proof == known
            )
            for each in others
        ]
    assert back == (303, URL("/console/"))
    assert (first, still) == (200, [True, False, False])


async def test_an_issuer_that_is_away_keeps_nobody_from_signing_in_otherwise(hub: RunningHub, issuer: Issuer) -> None:
    issuer.describe = lambda said: said.update(issuer="https://evil.example")
    async with Visitor(hub) as visitor:
        status, said = await visitor.get("/oidc/start")

    assert (status, "The issuer does not answer" in said, "evil" in said) == (503, True, False)
