"""How this API answers: one shape for every error, one table of codes, one description per endpoint.

Errors are ``{"error": code, "message": text}``. Source: docs/providers/paypay.md, "HTTP API".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeVar
from uuid import UUID

from aiohttp import web
from pydantic import BaseModel, ConfigDict

from hub.apidoc import Parameter
from hub.ingress import answering
from hub.ingress.answering import AnswerShape, Endpoint, Responder, Said, as_json

__all__ = [
    "BASE",
    "SHAPE",
    "STATUSES",
    "Endpoint",
    "ErrorReply",
    "Responder",
    "as_json",
    "as_model",
    "described",
    "path_id",
    "read_body",
]

M = TypeVar("M", bound=BaseModel)
BASE: Final = "/api/v1/paypay"
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


class ErrorReply(BaseModel):
    """Every error: a word for programs and a sentence for people."""

    model_config = ConfigDict(extra="allow")

    error: str
    message: str


def _body(code: str, text: str, more: Mapping[str, object]) -> Mapping[str, object]:
    return {"error": code, "message": text}


SHAPE: Final = AnswerShape(
    name="paypay",
    statuses=STATUSES,
    status_otherwise=422,
    body=_body,
    problem=ErrorReply,
    common=COMMON_CODES,
    invalid="INVALID_REQUEST",
    unauthenticated=Said(code="UNAUTHENTICATED", text="A known API key is needed: Authorization: Bearer KEY."),
    forbidden=Said(code="FORBIDDEN", text="This API key may not do that."),
    unavailable=Said(code="TEMPORARILY_UNAVAILABLE", text="Temporarily unavailable, please try again."),
    internal=Said(code="INTERNAL_ERROR", text="Unexpected failure."),
    challenge="Bearer",
)


def described(
    endpoint: Endpoint,
    *,
    tag: str,
    reply: type[BaseModel] | str,
    codes: Iterable[str] = (),
    body: type[BaseModel] | None = None,
    parameters: tuple[Parameter, ...] = (),
    statuses: tuple[int, ...] = (200,),
) -> Responder:
    """An endpoint that answers in this API's shape and says in the API's description what it does."""
    return SHAPE.described(
        endpoint,
        tag=tag,
        codes=codes,
        body=body,
        reply=reply,
        parameters=parameters,
        statuses=statuses,
        security="key",
    )


async def read_body(request: web.Request, model: type[M], **more: object) -> M:
    """The body as a model, with members that the caller adds. Raises RefusedCommand, UnreadableError."""
    return as_model(model, {**await SHAPE.read_object(request), **more})


def as_model(model: type[M], fields: Mapping[str, Any]) -> M:
    """The fields as a model. Raises RefusedCommand, which says which field is wrong."""
    return SHAPE.as_model(model, fields)


def path_id(request: web.Request, name: str) -> UUID:
    """The UUID in the path. What cannot be one is like one that is not there: RefusedCommand (NOT_FOUND)."""
    return answering.path_id(request, name, code="NOT_FOUND", detail="nothing has this id")
