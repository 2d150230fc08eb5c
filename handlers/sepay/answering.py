"""How this API answers: one shape for every error, one table of codes, one description per endpoint.

Errors are ``{"detail": text, "code": code}``. Source: docs/providers/sepay.md, "Errors".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict

from hub.apidoc import Parameter
from hub.errors import RefusedCommand
from hub.ingress.answering import AnswerShape, Endpoint, Responder, Said, path_id

__all__ = [
    "BASE",
    "STATUSES",
    "ErrorReply",
    "Responder",
    "as_json",
    "described",
    "path_id",
    "query_choice",
    "query_number",
    "read_model",
    "read_object",
]

M = TypeVar("M", bound=BaseModel)
BASE: Final = "/api/seapay"
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


class ErrorReply(BaseModel):
    """Every error: a sentence for people and a word for programs; some carry further members."""

    model_config = ConfigDict(extra="allow")

    detail: str
    code: str


def _body(code: str, text: str, more: Mapping[str, object]) -> Mapping[str, object]:
    return {"detail": text, "code": code, **more}


_NOBODY: Final = Said(code="unauthenticated", text="Authentication credentials were not provided or are invalid.")
SHAPE: Final = AnswerShape(
    name="sepay",
    statuses=STATUSES,
    status_otherwise=400,
    body=_body,
    problem=ErrorReply,
    common=COMMON_CODES,
    invalid="invalid_request",
    unauthenticated=_NOBODY,
    forbidden=_NOBODY,
    unavailable=Said(code="temporarily_unavailable", text="Temporarily unavailable, please try again."),
    internal=Said(code="internal_error", text="Unexpected failure."),
)


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
    """An endpoint that answers in this API's shape and says in the API's description what it does."""
    return SHAPE.described(
        endpoint,
        tag=tag,
        codes=codes,
        body=body,
        reply=reply,
        is_list=is_list,
        reply_headers=reply_headers or {},
        parameters=parameters,
    )


def as_json(body: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """A 200 with a JSON body."""
    return web.Response(text=body, content_type="application/json", headers=headers)


async def read_object(request: web.Request) -> Mapping[str, Any]:
    """The body, which must be a JSON object. Raises RefusedCommand, UnreadableError."""
    return await SHAPE.read_object(request)


def read_model(model: type[M], fields: Mapping[str, object]) -> M:
    """The fields as a model. Raises RefusedCommand (invalid_request), which says which field is wrong."""
    return SHAPE.as_model(model, fields)


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
