"""The way to the issuer and back. Neither page needs a session; the second makes one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote

import structlog
from aiohttp import web

from hub.console.addresses import next_of
from hub.console.oidc import AuthorizationRequest, IssuerAwayError, Oidc, OidcRefusedError
from hub.console.origin import address_of, cookie_name, is_secure
from hub.console.pages.login import login_form, set_session_cookie
from hub.errors import UsageError

if TYPE_CHECKING:
    from hub.console.app import Console

SIGN_IN_S_MAX: Final = 600
"""How long somebody may take to sign in at the issuer."""
COOKIE: Final = "hub_oidc"
COOKIE_CHARS_MAX: Final = 2_000
REFUSED: Final = "Nobody was signed in."
AWAY: Final = "The issuer does not answer. Try again, or sign in otherwise."

log = structlog.get_logger("hub.console")


def oidc_routes(console: Console) -> Sequence[web.AbstractRouteDef]:
    """The paths of this sign-in; none without an issuer."""
    if console.oidc is None:
        return []
    pages = _Pages(console, console.oidc)
    return [web.get("/oidc/start", pages.start), web.get("/oidc/callback", pages.callback)]


class _Pages:
    def __init__(self, console: Console, oidc: Oidc) -> None:
        self._console = console
        self._oidc = oidc

    async def start(self, request: web.Request) -> web.StreamResponse:
        """Send the browser to the issuer."""
        authorization = AuthorizationRequest.begin()
        try:
            response = web.HTTPSeeOther(await self._oidc.address(authorization))
        except IssuerAwayError as error:
            log.error("oidc_issuer_missed", reason=str(error))
            return await login_form(self._console, request, problem=AWAY, status=503)
        response.set_cookie(
            cookie_name(request, COOKIE),
            f"{authorization.token}.{quote(next_of(request.query.get('next', '')), safe='')}",
            path="/",
            max_age=SIGN_IN_S_MAX,
            httponly=True,
            secure=is_secure(request),
            # Lax: the issuer's page leads back here.
            samesite="Lax",
        )
        raise response

    async def callback(self, request: web.Request) -> web.StreamResponse:
        """Look at what the issuer says; a session, or the form of the sign-in."""
        console, address = self._console, address_of(request)
        token, _, target = request.cookies.get(cookie_name(request, COOKIE), "")[:COOKIE_CHARS_MAX].partition(".")
        try:
            if not token:
                raise OidcRefusedError("the browser was not sent there from here", hint="Begin again.")
            authorization = AuthorizationRequest(token)
            # There is nothing to guess: it counts by address, so that nobody lets us ask the issuer without end.
            attempt = await console.sessions.attempt(f"oidc {authorization.state}", address)
            person = await self._oidc.person(authorization, request.query)
        except UsageError as error:
            return await self._refused(request, str(error), 429)
        except OidcRefusedError as error:
            log.warning("oidc_refused", reason=str(error), remote=address)
            return await self._refused(request, f"{REFUSED} {error.hint}".strip(), 403)
        except IssuerAwayError as error:
            log.error("oidc_issuer_missed", reason=str(error))
            return await self._refused(request, AWAY, 503)
        response = web.HTTPSeeOther(next_of(unquote(target)))
        set_session_cookie(console, request, response, await console.sessions.open(person, address, attempt=attempt))
        response.del_cookie(cookie_name(request, COOKIE), path="/", secure=is_secure(request), httponly=True)
        raise response

    async def _refused(self, request: web.Request, problem: str, status: int) -> web.StreamResponse:
        response = await login_form(self._console, request, problem=problem, status=status)
        # A code and a state are for one time.
        response.del_cookie(cookie_name(request, COOKIE), path="/", secure=is_secure(request), httponly=True)
        return response
