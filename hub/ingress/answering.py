"""How a capability's own API answers: what an endpoint raises becomes an error in the shape that its callers know.

The shape is the API's: its codes, their statuses, the body of an error. What leads to which is the same for all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, Final, TypeAlias, TypeVar
from uuid import UUID

import structlog
from aiohttp import web
from pydantic import BaseModel, ValidationError

from hub.apidoc import Operation, documented
from hub.errors import RefusedCommand, RetryableError, UnreadableError, UsageError
from hub.ingress.tokens import RefusedError
from hub.jsonbody import parse_json

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

M = TypeVar("M", bound=BaseModel)
RETRY_AFTER_S: Final = 5
LATER: Final = (429, 503)
"""Statuses that say when to come again."""

Endpoint: TypeAlias = Callable[[web.Request], Awaitable[BaseModel | web.StreamResponse]]
Responder: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
ErrorBody: TypeAlias = Callable[[str, str, Mapping[str, object]], Mapping[str, object]]
"""Code, text and further members → the JSON of an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A code of an API, and what it says to people."""

    code: str
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerShape:
    """One API's way of answering; ``name`` is for the log.

    ``statuses`` are the HTTP statuses of its codes, ``status_otherwise`` that of a code which is not among them;
    ``problem`` describes what ``body`` makes. ``common`` are the codes that any endpoint may answer. The last six say
    how it names what can go wrong anywhere; ``challenge`` is the WWW-Authenticate of a 401.
    """

    name: str
    statuses: Mapping[str, int]
    status_otherwise: int
    body: ErrorBody
    problem: type[BaseModel]
    common: tuple[str, ...]
    invalid: str
    unauthenticated: Said
    forbidden: Said
    unavailable: Said
    internal: Said
    challenge: str = ""

    def described(self, endpoint: Endpoint, *, tag: str, codes: Iterable[str] = (), **more: Any) -> Responder:
        """An endpoint that answers in this shape and says in the API's description what it does.

        ``codes`` are its own errors, beside the common ones; its docstring becomes its summary; ``more`` is what else
        ``Operation`` takes.
        """
        summary, _, text = (endpoint.__doc__ or "").strip().partition("\n")
        operation = Operation(
            summary=summary,
            description=" ".join(text.split()),
            tag=tag,
            errors=self._by_status((*self.common, *codes)),
            problem=self.problem,
            **more,
        )
        return documented(self.answered(endpoint), operation)

    def answered(self, endpoint: Endpoint) -> Responder:
        """Turn what an endpoint returns or raises into a response of this shape."""

        @wraps(endpoint)
        async def respond(request: web.Request) -> web.StreamResponse:
            try:
                reply = await endpoint(request)
                return reply if isinstance(reply, web.StreamResponse) else as_json(reply)
            except RefusedCommand as error:
                return self.error(error.code, error.detail, error.extra)
            except RefusedError as error:
                return self._say(self.forbidden if error.status == 403 else self.unauthenticated)
            except UnreadableError as error:
                return self.error(self.invalid, str(error))
            except RetryableError as error:
                log.warning("request_postponed", api=self.name, error=type(error).__name__)
                return self._say(self.unavailable)
            except UsageError as error:
                log.error("request_not_routed", api=self.name, error=str(error))
                return self._say(self.internal)
            except web.HTTPException:
                raise
            except Exception:
                log.exception("request_failed", api=self.name)
                return self._say(self.internal)

        return respond

    def error(self, code: str, text: str, more: Mapping[str, object] | None = None) -> web.Response:
        """An error, under the status of its code."""
        status = self.statuses.get(code, self.status_otherwise)
        headers = {"Retry-After": str(RETRY_AFTER_S)} if status in LATER else {}
        if status == 401 and self.challenge:
            headers["WWW-Authenticate"] = self.challenge
        return web.json_response(self.body(code, text, more or {}), status=status, headers=headers)

    async def read_object(self, request: web.Request) -> Mapping[str, Any]:
        """The body, which must be a JSON object. Raises RefusedCommand, UnreadableError."""
        body = parse_json(await request.read())
        if not isinstance(body, dict):
            raise RefusedCommand(self.invalid, "expected a JSON object")
        return body

    def as_model(self, model: type[M], fields: Mapping[str, Any]) -> M:
        """The fields as a model. Raises RefusedCommand, which says which field is wrong."""
        try:
            return model.model_validate(fields)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise RefusedCommand(self.invalid, f"{place}: {first['msg']}") from error

    def _say(self, said: Said) -> web.Response:
        return self.error(said.code, said.text)

    def _by_status(self, codes: Iterable[str]) -> dict[int, str]:
        found: dict[int, list[str]] = {}
        for code in dict.fromkeys(codes):
            found.setdefault(self.statuses[code], []).append(code)
        return {status: ", ".join(names) for status, names in found.items()}


def as_json(body: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON body."""
    return web.Response(text=body.model_dump_json(), status=status, content_type="application/json", headers=headers)


def path_id(request: web.Request, name: str, *, code: str, detail: str) -> UUID:
    """The UUID in the path. What cannot be one is like one that is not there: RefusedCommand with ``code``."""
    try:
        return UUID(request.match_info[name])
    except ValueError:
        raise RefusedCommand(code, detail) from None
