"""How this API answers: one shape for every error, one table of codes, one description per endpoint.

Errors are ``{"error": code, "message": text}``. Source: docs/providers/paypay.md, "HTTP API".
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
from hub.errors import RefusedCommand, RetryableError, UnreadableError, UsageError
from hub.ingress.tokens import RefusedError
from hub.jsonbody import parse_json

log: structlog.stdlib.BoundLogger = structlog.get_logger("handlers.paypay")

M = TypeVar("M", bound=BaseModel)
BASE: Final = "/api/v1/paypay"
RETRY_AFTER_S: Final = 5
STATUSES: Final[Mapping[str, int]] = {
    "INVALID_REQUEST": 400,
    "TOKEN_REFUSED": 400,
    "UNAUTHENTICATED": 401,
    "FORBIDDEN": 403,
    "NOT_FOUND": 404,
    "IDEMPOTENCY_CONFLICT": 409,
    "NOT_REVERSIBLE": 409,
    "NOT_RETRYABLE": 409,
    "NOT_MANUAL": 409,
    "IS_REVERSED": 409,
    "NOT_CAPTURABLE": 409,
    "NOT_CANCELABLE": 409,
    "NOT_REFUNDABLE": 409,
    "NOT_STORED": 409,
    "WINDOW_OVER": 409,
    "AMOUNT_TOO_HIGH": 422,
    "NOT_LINKED": 422,
    "AUTHORIZATION_EXPIRED": 422,
    "NO_BOOKING_IN_ONE_YEAR": 422,
    "NO_POINTS": 422,
    "NOT_ENOUGH_POINTS": 422,
    "POINTS_NOT_POSITIVE": 422,
    "POINTS_NOT_INTEGER": 422,
    "POINTS_NOT_MULTIPLE_OF_100": 422,
    "TOO_MANY_POINTS": 422,
    "UNKNOWN_DEVICE_TYPE": 422,
    "INTERNAL_ERROR": 500,
    "PAYPAY_UNAVAILABLE": 502,
    "TEMPORARILY_UNAVAILABLE": 503,
}
"""Error code → HTTP status."""
COMMON_CODES: Final = ("INVALID_REQUEST", "UNAUTHENTICATED", "FORBIDDEN", "TEMPORARILY_UNAVAILABLE")
"""What any endpoint may answer."""

Endpoint: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ErrorReply(BaseModel):
    """Every error: a word for programs and a sentence for people."""

    model_config = ConfigDict(extra="allow")

    error: str
    message: str


def described(
    endpoint: Endpoint,
    *,
    tag: str,
    reply: type[BaseModel] | str,
    codes: Iterable[str] = (),
    body: type[BaseModel] | None = None,
    parameters: tuple[Parameter, ...] = (),
    statuses: tuple[int, ...] = (200,),
) -> Endpoint:
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
        parameters=parameters,
        errors=_by_status((*COMMON_CODES, *codes)),
        problem=ErrorReply,
        statuses=statuses,
        security="key",
    )
    return documented(answered(endpoint), operation)


def answered(endpoint: Endpoint) -> Endpoint:
    """Turn what an endpoint raises into a response of this API's shape."""

    @wraps(endpoint)
    async def respond(request: web.Request) -> web.StreamResponse:
        try:
            return await endpoint(request)
        except RefusedCommand as error:
            return error_response(error.code, error.detail)
        except RefusedError as error:
            if error.status == 403:
                return error_response("FORBIDDEN", "This API key may not do that.")
            return error_response("UNAUTHENTICATED", "A known API key is needed: Authorization: Bearer KEY.")
        except UnreadableError as error:
            return error_response("INVALID_REQUEST", str(error))
        except RetryableError as error:
            log.warning("paypay_request_postponed", error=type(error).__name__)
            return error_response("TEMPORARILY_UNAVAILABLE", "Temporarily unavailable, please try again.")
        except UsageError as error:
            log.error("paypay_request_not_routed", error=str(error))
            return error_response("INTERNAL_ERROR", "Unexpected failure.")
        except web.HTTPException:
            raise
        except Exception:
            log.exception("paypay_request_failed")
            return error_response("INTERNAL_ERROR", "Unexpected failure.")

    return respond


def error_response(code: str, message: str) -> web.Response:
    """An error in this API's shape, under the status of its code."""
    status = STATUSES.get(code, 422)
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return web.json_response({"error": code, "message": message}, status=status, headers=headers)


def as_json(body: BaseModel, status: int = 200) -> web.Response:
    """A JSON body."""
    return web.Response(text=body.model_dump_json(), status=status, content_type="application/json")


async def read_body(request: web.Request, model: type[M], **more: object) -> M:
    """The body as a model, with members that the caller adds. Raises RefusedCommand, UnreadableError."""
    body = parse_json(await request.read())
    if not isinstance(body, dict):
        raise RefusedCommand("INVALID_REQUEST", "expected a JSON object")
    return as_model(model, {**body, **more})


def as_model(model: type[M], fields: Mapping[str, Any]) -> M:
    """The fields as a model. Raises RefusedCommand, which says which field is wrong."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RefusedCommand("INVALID_REQUEST", f"{place}: {first['msg']}") from error


def path_id(request: web.Request, name: str) -> UUID:
    """The UUID in the path. What cannot be one is like one that is not there: RefusedCommand (NOT_FOUND)."""
    try:
        return UUID(request.match_info[name])
    except ValueError:
        raise RefusedCommand("NOT_FOUND", "nothing has this id") from None


def _by_status(codes: Iterable[str]) -> dict[int, str]:
    found: dict[int, list[str]] = {}
    for code in dict.fromkeys(codes):
        found.setdefault(STATUSES[code], []).append(code)
    return {status: ", ".join(names) for status, names in found.items()}
