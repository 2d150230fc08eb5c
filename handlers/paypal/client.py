"""Asking PayPal's REST API: one token per process, closed outcomes, nothing guessed.

Links in answers are data, never addresses to call. Source: https://developer.paypal.com/api/rest/responses.md and
/authentication/; docs/providers/paypal.md, "Calls".
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import aiohttp.client
import structlog

from handlers.paypal.cooling import Cooling, is_rate_limit
from handlers.paypal.settings import PaypalSettings
from hub.errors import HubError, RetryableError, UnreachableError, UnreadableError
from hub.jsonbody import parse_json, write_json

CONNECT_S_MAX: Final = 5.0
REQUEST_S_MAX: Final = 30.0
CALL_S_MAX: Final = 70.0
"""A token, a call, and both once more after a 401."""
ANSWER_BYTES_MAX: Final = 8 * 1024 * 1024
TOKEN_MARGIN_S: Final = 60.0
DEBUG_ID: Final = "PayPal-Debug-Id"

log: structlog.stdlib.BoundLogger = structlog.get_logger("handlers.paypal")


class NoAnswerError(HubError):
    """PayPal may have got the request and has not said what became of it."""


class CredentialsRefusedError(RetryableError):
    """PayPal does not accept our client id and secret, or they may not do this: nothing happened there."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What PayPal answered: ``body`` is JSON, or None where it was none."""

    status: int
    body: Any = field(repr=False)
    debug_id: str = ""

    @property
    def is_ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def issue(self) -> str:
        """The word that says what PayPal does not like: of the first detail, else the error's name."""
        if not isinstance(self.body, Mapping):
            return f"HTTP_{self.status}"
        details = self.body.get("details")
        first = details[0] if isinstance(details, list) and details else {}
        found = first.get("issue") if isinstance(first, Mapping) else None
        word = found or self.body.get("name") or self.body.get("error")
        return word[:100] if isinstance(word, str) and word else f"HTTP_{self.status}"


@dataclass(frozen=True, slots=True)
class Call:
    """One request. ``endpoint`` names it in logs and metrics, without ids; ``text`` is a written body."""

    method: str
    path: str
    endpoint: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    text: bytes | None = field(default=None, repr=False)
    request_id: str = ""
    prefer: str = ""


Ask: TypeAlias = Callable[[Call], Awaitable[Answer]]
"""How a question gets to PayPal: within a handler's recorded call, or in a turn of its own."""


class PaypalClient:
    """PayPal's API for one client id in one process."""

    def __init__(self, settings: PaypalSettings) -> None:
        self._settings = settings
        loop = asyncio.get_running_loop()
        self._clock = loop.time
        self.cooling = Cooling(loop.time, is_alone=not settings.is_sole)
        self._token = ""
        self._token_until = 0.0
        self._refreshing = asyncio.Lock()

    async def ask(self, call: Call) -> Answer:
        """Send one request; a token that has been withdrawn is renewed once.

        Raises PaypalBusyError, CredentialsRefusedError and RetryableError when nothing happened there; NoAnswerError
        when nobody knows.
        """
        self.cooling.check()
        token = await self._valid_token()
        answer = await self._send(call, token)
        if answer.status == 401:
            # Refused before it was looked at: the same request may go out again.
            token = await self._valid_token(instead_of=token)
            answer = await self._send(call, token)
        if answer.status in (401, 403):
            log.error("paypal_refused_us", endpoint=call.endpoint, issue=answer.issue, debug_id=answer.debug_id)
            raise self._refused(f"PayPal refuses {call.endpoint}: {answer.issue} ({answer.debug_id})")
        if not answer.is_ok:
            log.warning(
                "paypal_call_failed",
                endpoint=call.endpoint,
                status=answer.status,
                issue=answer.issue,
                debug_id=answer.debug_id,
            )
        return answer

    def _refused(self, reason: str) -> CredentialsRefusedError:
        # The credentials of another account may be better.
        return CredentialsRefusedError(reason, is_alone=not self._settings.is_sole)

    async def _send(self, call: Call, token: str) -> Answer:
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        if call.request_id:
            headers["PayPal-Request-Id"] = call.request_id
        if call.prefer:
            headers["Prefer"] = f"return={call.prefer}"
        data = call.text
        if call.body is not None:
            data = write_json(call.body, is_compact=True).encode()
        if data is not None:
            headers["Content-Type"] = "application/json"
        return await self._exchange(call, headers, data)

    async def _exchange(self, call: Call, headers: Mapping[str, str], data: bytes | None) -> Answer:
        timeout = aiohttp.ClientTimeout(total=REQUEST_S_MAX, sock_connect=CONNECT_S_MAX)
        url = self._settings.api_url + call.path
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, trust_env=False) as http,
                http.request(
                    call.method, url, params=call.query, data=data, headers=headers, allow_redirects=False
                ) as response,
            ):
                body = _json(await _bounded(response.content))
                debug_id = _debug_id(response.headers, body)
                if is_rate_limit(response.status, body):
                    raise self.cooling.hit(call.endpoint, headers=response.headers, debug_id=debug_id)
                self.cooling.went_well()
                return Answer(response.status, body, debug_id)
        except aiohttp.ClientConnectorError as error:
            raise UnreachableError(f"PayPal cannot be reached: {type(error).__name__}") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NoAnswerError(f"PayPal did not answer {call.endpoint}: {type(error).__name__}") from error

    async def _valid_token(self, *, instead_of: str = "") -> str:
        """The token, refreshed in time and by one at a time; never the one that was just refused."""
        async with self._refreshing:
            if self._token and self._token != instead_of and self._clock() < self._token_until:
                return self._token
            self._token, life_s = await self._fetch_token()
            self._token_until = self._clock() + max(0.0, life_s - TOKEN_MARGIN_S)
            return self._token

    async def _fetch_token(self) -> tuple[str, float]:
        self.cooling.check()
        settings = self._settings
        client_id, secret = settings.client_id.get_secret_value(), settings.secret.get_secret_value()
        if not client_id or not secret:
            raise self._refused("HUB_PAYPAL_CLIENT_ID and HUB_PAYPAL_SECRET are not set")
        basic = base64.b64encode(f"{client_id}:{secret}".encode()).decode()
        headers = {
            "Authorization": f"Basic {basic}",
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
        }
        call = Call("POST", "/v1/oauth2/token", "token")
        try:
            answer = await self._exchange(call, headers, b"grant_type=client_credentials")
        except NoAnswerError as error:
            # Only the token was asked for: what it was for has not been sent.
            raise RetryableError(str(error)) from error
        if answer.status in (400, 401, 403):
            raise self._refused(f"PayPal refuses our credentials: {answer.issue}")
        body = answer.body if isinstance(answer.body, Mapping) else {}
        token, life_s = body.get("access_token"), body.get("expires_in")
        if not answer.is_ok or not isinstance(token, str) or not token or not isinstance(life_s, int):
            raise RetryableError(f"PayPal gave no token: {answer.status}")
        return token, float(life_s)


def _json(body: bytes) -> Any:
    try:
        return parse_json(body) if body else None
    except UnreadableError:
        return None


def _debug_id(headers: Mapping[str, str], body: Any) -> str:
    found = headers.get(DEBUG_ID) or (body.get("debug_id") if isinstance(body, Mapping) else None)
    return found[:100] if isinstance(found, str) else ""


async def _bounded(content: aiohttp.StreamReader) -> bytes:
    body = bytearray()
    async for chunk in content.iter_any():
        body += chunk
        if len(body) > ANSWER_BYTES_MAX:
            raise NoAnswerError(f"PayPal answers more than {ANSWER_BYTES_MAX} bytes")
    return bytes(body)
