"""The wallet's HTTP API under ``/api/seapay``. Errors are ``{"detail": text, "code": code}``.

The hub answers every path with and without its slash at the end. Users see only their own rows: someone else's id
answers 404. Source: docs/providers/sepay.md, "HTTP API".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Final, TypeAlias
from uuid import UUID

import structlog
from aiohttp import web
from pydantic import BaseModel, ValidationError

from handlers.sepay.views import find_intent, find_wallet, topup_status
from hub.errors import RefusedCommand, RetryableError, UnreadableError
from hub.ingress.tokens import RefusedError
from hub.jsonbody import parse_json
from schemas.sepay import TopupReply, TopupRequested, WalletReply, WalletRequested

if TYPE_CHECKING:
    from hub.api import HubApi

log: structlog.stdlib.BoundLogger = structlog.get_logger("handlers.sepay")

BASE: Final = "/api/seapay"
RETRY_AFTER_S: Final = 5
STATUSES: Final[Mapping[str, int]] = {
    "invalid_request": 400,
    "invalid_amount": 400,
    "unsupported_currency": 400,
    "unknown_bank_code": 400,
    "wallet_suspended": 400,
    "unauthenticated": 401,
    "intent_not_found": 404,
    "too_many_requests": 429,
    "internal_error": 500,
    "temporarily_unavailable": 503,
}
"""Error code → HTTP status."""

Endpoint: TypeAlias = Callable[[web.Request], Awaitable[BaseModel | web.Response]]
Responder: TypeAlias = Callable[[web.Request], Awaitable[web.Response]]


def routes(api: HubApi) -> Iterable[web.AbstractRouteDef]:
    """The routes of this API; their handlers speak to the hub through ``api``."""
    wallets = WalletApi(api)
    yield web.post(f"{BASE}/wallet/topup/", answered(wallets.request_topup))
    yield web.get(f"{BASE}/wallet/", answered(wallets.wallet))
    yield web.get(f"{BASE}/wallet/topup/{{intent_id}}/status/", answered(wallets.topup_status))
    yield web.get(f"{BASE}/intent/{{intent_id}}/", answered(wallets.intent))


class WalletApi:
    """One method per endpoint: it returns the body of a 200, or raises RefusedCommand with the code of the error."""

    def __init__(self, api: HubApi) -> None:
        self._api = api

    async def request_topup(self, request: web.Request) -> TopupReply:
        """Open an intent with an order code, and say where to transfer the money."""
        user = self._api.user(request)
        body = await _object(request)
        command = _model(TopupRequested, {**body, "user_id": user.id, "request_id": None})
        reply = await self._api.command("sepay.topup.requested", command, key=user.id)
        assert isinstance(reply, TopupReply)
        return reply

    async def wallet(self, request: web.Request) -> WalletReply:
        """The user's wallet, opened by looking at it for the first time."""
        user = self._api.user(request)
        wallet = await self._wallet(user.id)
        if wallet is None:
            await self._api.command("sepay.wallet.open", WalletRequested(user_id=user.id), key=user.id)
            wallet = await self._wallet(user.id)
            assert wallet is not None
        return wallet

    async def topup_status(self, request: web.Request) -> BaseModel:
        """How far a top-up is."""
        user = self._api.user(request)
        async with self._api.reading() as session:
            return _found(await topup_status(session, user.id, _intent_id(request), self._api.clock.now()))

    async def intent(self, request: web.Request) -> BaseModel:
        """One payment intent."""
        user = self._api.user(request)
        async with self._api.reading() as session:
            return _found(await find_intent(session, user.id, _intent_id(request), self._api.clock.now()))

    async def _wallet(self, user_id: str) -> WalletReply | None:
        async with self._api.reading() as session:
            return await find_wallet(session, user_id)


def answered(endpoint: Endpoint) -> Responder:
    """Turn what an endpoint returns or raises into a response of this API's shape."""

    @wraps(endpoint)
    async def respond(request: web.Request) -> web.Response:
        try:
            reply = await endpoint(request)
            return reply if isinstance(reply, web.Response) else _json(200, reply.model_dump_json().encode())
        except RefusedCommand as error:
            return _error(error.code, error.detail, error.extra)
        except RefusedError:
            return _error("unauthenticated", "Authentication credentials were not provided or are invalid.")
        except UnreadableError as error:
            return _error("invalid_request", str(error))
        except RetryableError as error:
            log.warning("wallet_request_postponed", error=type(error).__name__)
            return _error("temporarily_unavailable", "Temporarily unavailable, please try again.")
        except web.HTTPException:
            raise
        except Exception:
            log.exception("wallet_request_failed")
            return _error("internal_error", "Unexpected failure.")

    return respond


def _error(code: str, detail: str, extra: Mapping[str, object] | None = None) -> web.Response:
    status = STATUSES.get(code, 400)
    response = web.json_response({"detail": detail, "code": code, **(extra or {})}, status=status)
    if status in (429, 503):
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response


def _json(status: int, body: bytes) -> web.Response:
    return web.Response(status=status, body=body, content_type="application/json")


async def _object(request: web.Request) -> Mapping[str, object]:
    body = parse_json(await request.read())
    if not isinstance(body, dict):
        raise RefusedCommand("invalid_request", "expected a JSON object")
    return body


def _model(model: type[TopupRequested], fields: Mapping[str, object]) -> TopupRequested:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RefusedCommand("invalid_request", f"{place}: {first['msg']}") from error


def _intent_id(request: web.Request) -> UUID:
    try:
        return UUID(request.match_info["intent_id"])
    except ValueError:
        raise RefusedCommand("intent_not_found", "Payment intent not found") from None


def _found(reply: BaseModel | None) -> BaseModel:
    if reply is None:
        raise RefusedCommand("intent_not_found", "Payment intent not found")
    return reply
