"""How a request becomes a page: who asks, may they, what do they get. What no ``Place`` allows is refused.

Source: docs/console.md, "What protects it".
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote

import aiohttp_jinja2
import jinja2
import structlog
from aiohttp import web
from aiohttp.typedefs import Handler as HttpHandler
from aiohttp.typedefs import Middleware

from hub.console import words
from hub.console.addresses import BASE, LOGIN, NEXT_CHARS_MAX, is_loopback
from hub.console.oidc import Oidc
from hub.console.origin import cookie_name, is_from_here, is_same
from hub.console.pages import GROUPS
from hub.console.pages.login import login_routes
from hub.console.pages.oidc import oidc_routes
from hub.console.people import People
from hub.console.sessions import Session, Sessions
from hub.console.static import Statics
from hub.console.visit import Answer, Done, Place, Shown, Visit
from hub.console.worklist import Worklist
from hub.errors import HubError, RetryableError, UsageError
from hub.ingress.middleware import route_name
from hub.ingress.problems import phrase

if TYPE_CHECKING:
    from hub.app import Hub

TOO_LONG: Final = "This took too long and was given up: narrow the search, or come again later."
SENTENCE_CHARS_MAX: Final = 300
SENTENCE_S: Final = 30
SENTENCE_COOKIE: Final = "hub_console_done"
SHORTCUTS: Final = {"overview": "o", "events": "e", "parked": "p", "undecided": "u", "routes": "r", "ledger": "l"}
"""Group of pages → the key that leads there after g."""
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}

log: structlog.stdlib.BoundLogger = structlog.get_logger("hub.console")


class Console:
    """The console of one hub. ``application`` is hung into the server under ``BASE``."""

    def __init__(self, hub: Hub) -> None:
        """Raises ConfigError for users of the settings that cannot be read."""
        settings = hub.settings
        self.hub = hub
        self.people = People(hub.store, settings, hub.doorman.keys, hub.plan.oidc)
        self.oidc = Oidc(hub.plan.oidc, hub.clock) if hub.plan.oidc.issuer else None
        self.sessions = Sessions(
            hub.store, hub.clock, self.people, life_s=settings.console_session_s, idle_s=settings.console_idle_s
        )
        self.statics = Statics(Path(__file__).parent / "static")
        self.worklist = Worklist(hub)
        self.groups = GROUPS
        self._is_open = settings.console == "on" or is_loopback(settings.host)

    def application(self) -> web.Application:
        """The application with every page, action and static file."""
        app = web.Application(middlewares=[self._shield])
        aiohttp_jinja2.setup(
            app,
            loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
            undefined=jinja2.StrictUndefined,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
            default_helpers=False,
            filters=words.FILTERS,
        )
        for place in self.places:
            app.router.add_route(place.method, place.path, partial(self._visit, place))
        app.add_routes([*login_routes(self), *oidc_routes(self)])
        app.router.add_get("/static/{name}", self.statics.answer)
        app.on_response_prepare.append(_protect)
        return app

    @property
    def places(self) -> list[Place]:
        """Every path that needs a session."""
        return [place for group in self.groups for place in group.places]

    async def is_open(self) -> bool:
        """Whether there is a console: not on a public interface where nobody could sign in."""
        # Once somebody can, it stays open: the sign-in itself looks again.
        self._is_open = self._is_open or await self.people.is_anybody()
        return self._is_open

    async def session_of(self, request: web.Request) -> Session | None:
        """Who sent this request."""
        token = request.cookies.get(cookie_name(request), "")
        return await self.sessions.find(token, is_click="HX-Trigger" not in request.headers)

    async def render(self, request: web.Request, shown: Shown, session: Session | None = None) -> web.StreamResponse:
        """A page as a response."""
        values: dict[str, Any] = {
            "base": BASE,
            "title": shown.title,
            "session": session,
            "csrf": session.csrf if session is not None else "",
            "path": request.path.removeprefix(BASE) or "/",
            "groups": self.groups,
            "shortcuts": SHORTCUTS,
            "now": self.hub.clock.now(),
            "static": self.statics.path,
            "done": unquote(request.cookies.get(SENTENCE_COOKIE, ""))[:SENTENCE_CHARS_MAX]
            if session is not None
            else "",
            "badges": await self.worklist.badges() if session is not None else {},
            "is_sandbox": self.hub.settings.sandbox,
            **shown.values,
        }
        response = aiohttp_jinja2.render_template(shown.template, request, values, status=shown.status)
        if values["done"]:
            response.del_cookie(SENTENCE_COOKIE, path=BASE)
        return response

    async def _visit(self, place: Place, request: web.Request) -> web.StreamResponse:
        if not await self.is_open():
            raise web.HTTPNotFound
        session = await self.session_of(request)
        if session is None:
            return await self._send_to_login(request)
        if not session.may(place.role):
            message = f"You are signed in as {session.name}, {session.role}. This needs the role {place.role}."
            return await self._refuse(request, 403, message, session)
        form: Mapping[str, Any] = {}
        if place.method == "POST":
            form = await request.post()
            if not is_from_here(request) or not is_same(form.get("csrf"), session.csrf):
                message = "This form is not of your session any more. Go back, load the page again and repeat it."
                return await self._refuse(request, 403, message, session)
        visit = Visit(self, request, session, form)
        try:
            answer = await place.handler(visit)
        except UsageError as error:
            return await self._refuse(request, 400, str(error), session)
        return await self._answer(visit, answer)

    async def _answer(self, visit: Visit, answer: Answer) -> web.StreamResponse:
        match answer:
            case Shown():
                return await self.render(visit.request, answer, visit.session)
            case Done():
                response = web.HTTPSeeOther(answer.to)
                sentence = answer.sentence[:SENTENCE_CHARS_MAX]
                response.set_cookie(
                    SENTENCE_COOKIE, quote(sentence), path=BASE, max_age=SENTENCE_S, httponly=True, samesite="Strict"
                )
                raise response
            case _:
                return answer

    async def _send_to_login(self, request: web.Request) -> web.StreamResponse:
        if request.method != "GET":
            message = "Your session is over. Sign in, go back, load the page again and repeat it."
            return await self._refuse(request, 401, message)
        where = f"{LOGIN}?next={quote(request.path_qs, safe='')}" if len(request.path_qs) <= NEXT_CHARS_MAX else LOGIN
        if "HX-Request" in request.headers:
            return web.Response(status=401, headers={"HX-Redirect": LOGIN})
        raise web.HTTPSeeOther(where)

    async def _refuse(
        self, request: web.Request, status: int, message: str, session: Session | None = None
    ) -> web.StreamResponse:
        values = {"status": status, "message": message}
        return await self.render(request, Shown("error.html", phrase(status), values, status), session)

    @property
    def _shield(self) -> Middleware:
        @web.middleware
        async def shield(request: web.Request, handler: HttpHandler) -> web.StreamResponse:
            """Tell what went wrong as a page; what the hub knows about itself stays in the log."""
            try:
                return await handler(request)
            except web.HTTPException as error:
                if error.status < 400:
                    raise
                return await self._refuse(request, error.status, _words_for(error.status))
            except RetryableError as error:
                log.error("console_not_done", route=route_name(request), error=type(error).__name__, reason=str(error))
                return await self._refuse(request, 503, str(error))
            except HubError as error:
                return await self._refuse(request, 400, str(error))
            except TimeoutError:
                log.warning("console_given_up", route=route_name(request))
                return await self._refuse(request, 503, TOO_LONG)
            except Exception:
                log.exception("console_failed", method=request.method, route=route_name(request))
                return await self._refuse(request, 500, "Something went wrong. The log has the details.")

        return shield


def _words_for(status: int) -> str:
    match status:
        case 404:
            return "There is no such page."
        case 405:
            return "This page cannot be used in that way."
    return f"{phrase(status)}."


async def _protect(_request: web.Request, response: web.StreamResponse) -> None:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
