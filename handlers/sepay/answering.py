"""How this API answers: one shape for every error, one table of codes, one description per endpoint.

Errors are ``{"detail": text, "code": code}``. Source: docs/providers/sepay.md, "Errors".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import wraps
from typing import Any, Final, TypeAlias, TypeVar
from uuid import UUID

import structlog
from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from hub.apidoc import Operation, Parameter, documented
from hub.errors import RefusedCommand, RetryableError, UnreadableError
from hub.ingress.tokens import RefusedError
from hub.jsonbody import parse_json

log: structlog.stdlib.BoundLogger = structlog.get_logger("handlers.sepay")

M = TypeVar("M", bound=BaseModel)
BASE: Final = "/api/seapay"
RETRY_AFTER_S: Final = 5
STATUSES: Final[Mapping[str, int]] = {
    "invalid_request": 400,
    "invalid_amount": 400,
    "unsupported_currency": 400,
    "invalid_purpose": 400,
    "unknown_bank_code": 400,
    "wallet_suspended": 400,
    "wallet_not_found": 400,
    "empty_order": 400,
    "invalid_item": 400,
    "symbol_not_found": 400,
    "price_mismatch": 400,
    "invalid_payment_method": 400,
    "invalid_status_filter": 400,
    "insufficient_balance": 400,
    "unauthenticated": 401,
    "intent_not_found": 404,
    "order_not_found": 404,
    "subscription_not_found": 404,
    "order_not_payable": 409,
    "request_id_reused": 409,
    "topup_not_needed": 409,
    "wrong_payment_method": 409,
    "wrong_subscription_status": 409,
    "too_many_requests": 429,
    "internal_error": 500,
    "temporarily_unavailable": 503,
}
"""Error code → HTTP status."""
COMMON_CODES: Final = ("invalid_request", "unauthenticated", "too_many_requests", "temporarily_unavailable")
"""What any endpoint may answer."""

Endpoint: TypeAlias = Callable[[web.Request], Awaitable[BaseModel | web.Response]]
Responder: TypeAlias = Callable[[web.Request], Awaitable[web.Response]]


class ErrorReply(BaseModel):
    """Every error: a sentence for people and a word for programs; some carry further members."""

    model_config = ConfigDict(extra="allow")

    detail: str
    code: str


def described(
    endpoint: Endpoint,
    *,
    tag: str,
    reply: type[BaseModel] | str,
    codes: Iterable[str] = (),
    body: type[BaseModel] | None = None,
    parameters: tuple[Parameter, ...] = (),
    is_list: bool = False,
    reply_headers: Mapping[str, str] | None = None,
) -> Responder:
    """An endpoint that answers in this API's shape and says in the API's description what it does.

    ``codes`` are its own errors, beside those that any endpoint may answer; its docstring becomes its summary.
    """
    summary, _, more = (endpoint.__doc__ or "").strip().partition("\n")
    operation = Operation(
        summary=summary,
        description=" ".join(more.split()),
        tag=tag,
        body=body,
        reply=reply,
        is_list=is_list,
        reply_headers=reply_headers or {},
        parameters=parameters,
        errors=_by_status((*COMMON_CODES, *codes)),
        problem=ErrorReply,
    )
    return documented(answered(endpoint), operation)


def answered(endpoint: Endpoint) -> Responder:
    """Turn what an endpoint returns or raises into a response of this API's shape."""

    @wraps(endpoint)
    async def respond(request: web.Request) -> web.Response:
        try:
            reply = await endpoint(request)
            return reply if isinstance(reply, web.Response) else as_json(reply.model_dump_json())
        except RefusedCommand as error:
            return error_response(error.code, error.detail, error.extra)
        except RefusedError:
            return error_response("unauthenticated", "Authentication credentials were not provided or are invalid.")
        except UnreadableError as error:
            return error_response("invalid_request", str(error))
        except RetryableError as error:
            log.warning("wallet_request_postponed", error=type(error).__name__)
            return error_response("temporarily_unavailable", "Temporarily unavailable, please try again.")
        except web.HTTPException:
            raise
        except Exception:
            log.exception("wallet_request_failed")
            return error_response("internal_error", "Unexpected failure.")

    return respond


def error_response(code: str, detail: str, extra: Mapping[str, object] | None = None) -> web.Response:
    """An error in this API's shape, under the status of its code."""
    status = STATUSES.get(code, 400)
    response = web.json_response({"detail": detail, "code": code, **(extra or {})}, status=status)
    if status in (429, 503):
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response


def as_json(body: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """A 200 with a JSON body."""
    return web.Response(text=body, content_type="application/json", headers=headers)


async def read_object(request: web.Request) -> Mapping[str, Any]:
    """The body, which must be a JSON object. Raises RefusedCommand, UnreadableError."""
    body = parse_json(await request.read())
    if not isinstance(body, dict):
        raise RefusedCommand("invalid_request", "expected a JSON object")
    return body


def read_model(model: type[M], fields: Mapping[str, object]) -> M:
    """The fields as a model. Raises RefusedCommand (invalid_request), which says which field is wrong."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RefusedCommand("invalid_request", f"{place}: {first['msg']}") from error


def path_id(request: web.Request, name: str, *, code: str, detail: str) -> UUID:
    """The UUID in the path. What cannot be one is like one that is not there: RefusedCommand with ``code``."""
    try:
        return UUID(request.match_info[name])
    except ValueError:
        raise RefusedCommand(code, detail) from None


def query_number(request: web.Request, name: str, *, default: int, most: int) -> int:
    """A whole number from 1 to ``most`` in the query. Raises RefusedCommand (invalid_request)."""
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 19 and 1 <= int(text) <= most):
        raise RefusedCommand("invalid_request", f"{name} must be a whole number from 1 to {most}")
    return int(text)


def query_choice(request: web.Request, name: str, choices: Iterable[str], *, code: str) -> str | None:
    """One of some words in the query, None when there is none. Raises RefusedCommand with ``code``."""
    text = request.query.get(name)
    if not text:
        return None
    if text not in choices:
        raise RefusedCommand(code, f"{name} must be one of {', '.join(choices)}")
    return text


def _by_status(codes: Iterable[str]) -> dict[int, str]:
    found: dict[int, list[str]] = {}
    for code in dict.fromkeys(codes):
        found.setdefault(STATUSES[code], []).append(code)
    return {status: ", ".join(names) for status, names in found.items()}
