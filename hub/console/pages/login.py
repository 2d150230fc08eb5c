"""Signing in and out. The only pages that need no session."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from aiohttp import web

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
            raise web.HTTPSeeOther(_next(request.query.get("next", "")))
        return await self._form(request)

    async def sign_in(self, request: web.Request) -> web.StreamResponse:
        """Look at what was given; a session, or the form once more."""
        from hub.console.app import address_of, is_from_here  # noqa: PLC0415 - it knows the pages

        await self._expect_open()
        form = await request.post()
        name, password, key = (_text(form.get(one)) for one in ("name", "password", "key"))
        if not is_from_here(request):
            return await self._form(request, problem="This form came from another site. Sign in here.", status=403)
        address = address_of(request)
        sessions, who = self._console.sessions, name if not key else "key"
        try:
            attempt = await sessions.attempt(who, address)
        except UsageError as error:
            return await self._form(request, problem=str(error), name=name, status=429)
        people = self._console.people
        person = people.by_key(key) if key else await people.by_password(name, password)
        if person is None:
            return await self._form(request, problem=WRONG_KEY if key else WRONG, name=name, status=403)
        token = await sessions.open(person, address, attempt=attempt)
        response = web.HTTPSeeOther(_next(_text(form.get("next"))))
        self._set_cookie(request, response, token)
        raise response

    async def sign_out(self, request: web.Request) -> web.StreamResponse:
        """End the session."""
        from hub.console.app import BASE, cookie_name, is_from_here, is_same  # noqa: PLC0415 - as above

        session = await self._console.session_of(request)
        form = await request.post()
        response = web.HTTPSeeOther(f"{BASE}/login")
        if session is not None:
            if not is_from_here(request) or not is_same(form.get("csrf"), session.csrf):
                raise web.HTTPForbidden
            await self._console.sessions.close(session)
        response.del_cookie(cookie_name(request), path="/")
        raise response

    async def _expect_open(self) -> None:
        if not await self._console.is_open():
            raise web.HTTPNotFound

    async def _form(
        self, request: web.Request, *, problem: str = "", name: str = "", status: int = 200
    ) -> web.StreamResponse:
        form = await request.post() if request.method == "POST" else {}
        target = _text(form.get("next")) or request.query.get("next", "")
        values = {
            "problem": problem,
            "name": name,
            "next": _next(target),
            "is_anybody": await self._console.people.is_anybody(),
        }
        return await self._console.render(request, Shown("login.html", "Sign in", values, status))

    def _set_cookie(self, request: web.Request, response: web.StreamResponse, token: str) -> None:
        from hub.console.app import cookie_name, is_secure  # noqa: PLC0415 - as above

        response.set_cookie(
            cookie_name(request),
            token,
            path="/",
            httponly=True,
            secure=is_secure(request),
            # Lax: a link in an alert leads to the page, not to the sign-in. What acts carries a token besides.
            samesite="Lax",
            max_age=int(self._console.hub.settings.console_session_s),
        )


def _next(text: str) -> str:
    from hub.console.app import next_of  # noqa: PLC0415 - as above

    return next_of(text)


def _text(value: object) -> str:
    return value[:SECRET_CHARS_MAX] if isinstance(value, str) else ""
