"""OAuth 2.0 for SePay's webhooks: SePay fetches a token from us with its secret, and shows it with each webhook.

The token is a JWT that the client's secret signs and that names this purpose alone, so every replica can verify it and
nothing has to be stored. Source: RFC 6749, sections 4.4 and 5; docs/providers/sepay.md, "Authentication".
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_plus

import structlog
from aiohttp import web

from handlers.sepay.settings import SepaySettings
from hub.errors import UnreadableError
from hub.event import Verdict
from hub.ingress.authentication import Decision, Request, Scheme, refused
from hub.ingress.keys import equal
from hub.ingress.parameters import Parameters
from hub.ingress.tokens import RefusedError, Tokens
from hub.jsonbody import parse_json

if TYPE_CHECKING:
    from hub.api import HubApi

log: structlog.stdlib.BoundLogger = structlog.get_logger("handlers.sepay")

FETCH_PATH: Final = "/api/sepay/oauth/token"
AUDIENCE: Final = "sepay-webhook"
_UNCACHED: Final = {"Cache-Control": "no-store", "Pragma": "no-cache"}


@dataclass(frozen=True, slots=True, kw_only=True)
class OauthScheme:
    """Accepts ``Authorization: Bearer`` with a token that one of the client's secrets has signed. No secret: nobody."""

    client_id: str
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def decide(self, request: Request, now: datetime) -> Decision:
        if not self.client_id or not self.secrets:
            return refused("no client is configured, so every request is refused")
        word, _, token = request.headers.get("authorization", "").strip().partition(" ")
        if word.lower() != "bearer" or not token.strip():
            return refused("the header authorization does not begin with 'Bearer'")
        reason = ""
        for secret in self.secrets:
            try:
                holder = Tokens(secret=secret, audience=AUDIENCE).verify(token.strip(), now)
            except RefusedError as error:
                reason = str(error)
            else:
                is_client = equal(holder.id, self.client_id)
                return Decision(Verdict.VALID, "the token is ours") if is_client else refused("another client's token")
        return refused(reason)

    @property
    def headers_secret(self) -> frozenset[str]:
        """The header with the token."""
        return frozenset({"authorization"})


def sepay_oauth2(values: Mapping[str, object]) -> Scheme:
    """Build ``sepay_oauth2`` from ``client_id`` and ``secret``."""
    parameters = Parameters("sepay_oauth2", values, ("client_id", "secret"))
    scheme = OauthScheme(client_id=parameters.text("client_id").strip(), secrets=parameters.secrets())
    parameters.finish()
    return scheme


def oauth_routes(api: HubApi) -> Iterable[web.AbstractRouteDef]:
    """Where SePay fetches its token."""
    yield web.post(FETCH_PATH, TokenDesk(api).token)


@dataclass(frozen=True, slots=True)
class TokenDesk:
    """Gives tokens to the one client that the settings name."""

    api: HubApi

    async def token(self, request: web.Request) -> web.Response:
        """A token for the client's credentials, given in the body or by HTTP Basic, in JSON or as a form."""
        fields = await _fields(request)
        if fields.get("grant_type") != "client_credentials":
            known = "grant_type" in fields
            return _error(400, "unsupported_grant_type" if known else "invalid_request")
        settings: SepaySettings = self.api.settings_of("sepay")
        secrets = [part.strip() for part in settings.oauth_client_secret.get_secret_value().split(",") if part.strip()]
        given_id, given_secret = _basic(request) or (fields.get("client_id", ""), fields.get("client_secret", ""))
        # All are compared, so that the time taken tells nothing.
        matches = [equal(given_secret, secret) for secret in secrets]
        if not (equal(given_id, settings.oauth_client_id) and settings.oauth_client_id and any(matches)):
            log.warning("token_refused")
            return _error(401, "invalid_client")
        life_s = settings.oauth_token_seconds
        token = Tokens(secret=secrets[0], audience=AUDIENCE).issue(given_id, self.api.clock.now(), life_s=life_s)
        answer = {"access_token": token, "token_type": "Bearer", "expires_in": life_s}
        return web.json_response(answer, headers=_UNCACHED)


def _error(status: int, error: str) -> web.Response:
    headers = {**_UNCACHED, "WWW-Authenticate": 'Basic realm="sepay"'} if status == 401 else _UNCACHED
    return web.json_response({"error": error}, status=status, headers=headers)


async def _fields(request: web.Request) -> Mapping[str, str]:
    try:
        is_json = request.content_type == "application/json"
        fields = parse_json(await request.read()) if is_json else await request.post()
    except UnreadableError:
        return {}
    if not isinstance(fields, Mapping):
        return {}
    return {name: value for name, value in fields.items() if isinstance(name, str) and isinstance(value, str)}


def _basic(request: web.Request) -> tuple[str, str] | None:
    word, _, rest = request.headers.get("Authorization", "").strip().partition(" ")
    if word.lower() != "basic":
        return None
    try:
        name, _, secret = base64.b64decode(rest, validate=True).decode().partition(":")
    except ValueError:
        # No base64, no ASCII, or no UTF-8 within.
        return "", ""
    return unquote_plus(name), unquote_plus(secret)
