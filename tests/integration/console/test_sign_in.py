"""Signing in to the console and out of it: what a session needs, and what keeps others out of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from hub.store import tables as t
from tests.browser.stage import KEY, OPERATOR_KEY, PASSWORD, VIEWER_KEY, Visitor, stage_environment
from tests.support.databases import Databases
from tests.support.running import RunningHub, running

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(tmp_path_factory: pytest.TempPathFactory, databases: Databases) -> AsyncIterator[RunningHub]:
    """One that has nothing to look at."""
    address = await databases.fresh("sqlite")
    async with running(stage_environment(tmp_path_factory.mktemp("sign-in"), address)) as one:
        yield one
    await databases.drop(address)


@pytest.mark.parametrize(
    ("headers", "csrf"),
    [
        ({}, "0" * 64),
        ({}, ""),
        ({"Origin": "https://evil.example"}, None),
        ({"Origin": "null"}, None),
        ({"Sec-Fetch-Site": "cross-site"}, None),
        ({"Sec-Fetch-Site": "same-site"}, None),
    ],
)
async def test_a_form_of_another_site_does_nothing(hub: RunningHub, headers: dict[str, str], csrf: str | None) -> None:
    async with Visitor(hub) as visitor:
        await visitor.sign_in(key=OPERATOR_KEY)
        visitor.csrf = visitor.csrf if csrf is None else csrf

        status, said = await visitor.post(
            "/pause", headers=headers, kind="route", name="look-at-refund", reason="not mine"
        )

    assert (status, "not of your session" in said) == (403, True)
    assert [row for row in await hub.rows(t.operations) if row.reason == "not mine"] == []


async def test_a_session_ends_when_somebody_signs_out(hub: RunningHub) -> None:
    async with Visitor(hub) as visitor, Visitor(hub) as thief:
        assert await visitor.sign_in() == 303
        [cookie] = [one for one in visitor.http.cookie_jar if one.key == "hub_console"]
        cookies = {cookie.key: cookie.value}
        path = f"{thief.url}/events"
        async with thief.http.get(path, cookies=cookies, allow_redirects=False) as before:
            pass
        status, _ = await thief.post("/logout", headers={"Cookie": f"{cookie.key}={cookie.value}"}, csrf="0" * 64)
        assert status == 403
        assert await visitor.post("/logout") == (303, "/console/login")
        async with thief.http.get(path, cookies=cookies, allow_redirects=False) as after:
            pass

    assert (before.status, after.status) == (200, 303)
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/")


async def test_the_cookie_travels_encrypted_anywhere_but_on_this_machine(hub: RunningHub) -> None:
    async with Visitor(hub) as visitor:
        fields = {"name": "admin", "password": PASSWORD}
        headers = {"Host": "hub.example"}
        url = f"{visitor.url}/login"
        async with visitor.http.post(url, data=fields, headers=headers, allow_redirects=False) as response:
            cookie = response.headers["Set-Cookie"]

    assert cookie.startswith("__Host-hub_console=")
    assert "Secure" in cookie


async def test_whoever_guesses_is_not_listened_to_any_more_and_locks_nobody_else_out(hub: RunningHub) -> None:
    async with Visitor(hub) as visitor:
        answers = [await visitor.sign_in(name="eve", password=f"guess {number}") for number in range(7)]
        guesses = [visitor.sign_in(name="mallory", password=f"guess {number}") for number in range(12)]
        at_once = await asyncio.gather(*guesses)
        others = await visitor.sign_in()

    assert answers == [403] * 5 + [429] * 2
    assert sorted(at_once) == [403] * 5 + [429] * 7
    assert others == 303


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example", "/\\evil.example", "/events", "/console/login"]
)
async def test_the_sign_in_leads_nowhere_else(hub: RunningHub, target: str) -> None:
    async with Visitor(hub) as visitor:
        status, where = await visitor.post("/login", key=VIEWER_KEY, next=target)

    assert (status, where) == (303, "/console/")


async def test_a_key_for_programs_alone_signs_nobody_in(hub: RunningHub) -> None:
    async with Visitor(hub) as visitor:
        assert await visitor.sign_in(key=KEY) == 403
