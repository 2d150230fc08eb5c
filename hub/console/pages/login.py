"""Signing in and out. The only pages that need no session."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from aiohttp import web
from yarl import URL

from hub.console.addresses import LOGIN, next_of
from hub.console.origin import address_of, cookie_name, is_from_here, is_same, is_secure
from hub.console.visit import Shown
from hub.errors import UsageError

if TYPE_CHECKING:
    from hub.console.app import Console

SECRET_CHARS_MAX = 1_000
WRONG = "The name and the password do not belong together."
WRONG_KEY = "This is no API key of a viewer, an operator or an admin."


def login_routes(console: Console) -> Sequence[web.AbstractRouteDef]:
    """The paths of the sign-in."""
    return [
        web.get("/login", _Login(console).show),
        web.post("/login", _Login(console).sign_in),
        web.post("/logout", _Login(console).sign_out),
    ]


class _Login:
    def __init__(self, console: Console) -> None:
        self._console = console

    async def show(self, request: web.Request) -> web.StreamResponse:
        """The form."""
        await self._expect_open()
        if await self._console.session_of(request) is not None:
            raise web.HTTPSeeOther(next_of(request.query.get("next", "")))
        return await login_form(self._console, request)

    async def sign_in(self, request: web.Request) -> web.StreamResponse:
        """Look at what was given; a session, or the form once more."""
        await self._expect_open()
        form = await request.post()
        name, password, key = (_text(form.get(one)) for one in ("name", "password", "key"))
        if not is_from_here(request):
            return await login_form(
                self._console, request, problem="This form came from another site. Sign in here.", status=403
            )
        address = address_of(request)
        sessions, who = self._console.sessions, name if not key else "key"
        try:
            attempt = await sessions.attempt(who, address)
        except UsageError as error:
            return await login_form(self._console, request, problem=str(error), name=name, status=429)
        people = self._console.people
        person = people.by_key(key) if key else await people.by_password(name, password)
        if person is None:
            return await login_form(self._console, request, problem=WRONG_KEY if key else WRONG, name=name, status=403)
        token = await sessions.open(person, address, attempt=attempt)
        response = web.HTTPSeeOther(next_of(_text(form.get("next"))))
        set_session_cookie(self._console, request, response, token)
        raise response

    async def sign_out(self, request: web.Request) -> web.StreamResponse:
        """End the session."""
        session = await self._console.session_of(request)
        form = await request.post()
        response = web.HTTPSeeOther(LOGIN)
        if session is not None:
            if not is_from_here(request) or not is_same(form.get("csrf"), session.csrf):
                raise web.HTTPForbidden
            await self._console.sessions.close(session)
        response.del_cookie(cookie_name(request), path="/", secure=is_secure(request), httponly=True)
        raise response

    async def _expect_open(self) -> None:
        if not await self._console.is_open():
            raise web.HTTPNotFound


async def login_form(
    console: Console, request: web.Request, *, problem: str = "", name: str = "", status: int = 200
) -> web.StreamResponse:
    """The form of the sign-in; ``problem`` says what was wrong with the last one."""
    form = await request.post() if request.method == "POST" else {}
    values = {
        "problem": problem,
        "name": name,
        "next": next_of(_text(form.get("next")) or request.query.get("next", "")),
        "is_anybody": await console.people.is_anybody(),
        "issuer": (URL(console.oidc.settings.issuer).host or "") if console.oidc is not None else "",
    }
    return await console.render(request, Shown("login.html", "Sign in", values, status))


def set_session_cookie(console: Console, request: web.Request, response: web.StreamResponse, token: str) -> None:
    """Let the browser keep the session's token."""
    response.set_cookie(
        cookie_name(request),
        token,
        path="/",
        httponly=True,
        secure=is_secure(request),
        # Lax: a link in an alert leads to the page, not to the sign-in. What acts carries a token besides.
        samesite="Lax",
        max_age=int(console.hub.settings.console_session_s),
    )


def _text(value: object) -> str:
    return value[:SECRET_CHARS_MAX] if isinstance(value, str) else ""
