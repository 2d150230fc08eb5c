"""What a route says about itself. It hangs on the route's handler, so that it cannot be forgotten with the route."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypeVar

from aiohttp import web
from pydantic import BaseModel

Responder: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
R = TypeVar("R", bound=Responder)

_ATTRIBUTE = "hub_operation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter of the path, the query or the head, with its JSON Schema."""

    name: str
    place: Literal["path", "query", "header"] = "query"
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    description: str = ""
    is_required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation: what it does, takes and answers.

    ``reply`` is the model of a success (``is_list``: an array of it) or a media type such as ``image/png``, under each
    of ``statuses``; ``errors`` maps each other status to a sentence, and ``problem`` is the model of their bodies,
    which are of the type ``problem_media``.
    ``security`` names who may call it: a user's token, a program's API key, or nobody in particular.
    """

    summary: str
    tag: str
    description: str = ""
    body: type[BaseModel] | None = None
    body_media: str = "application/json"
    reply: type[BaseModel] | str | None = None
    is_list: bool = False
    statuses: tuple[int, ...] = (200,)
    reply_headers: Mapping[str, str] = field(default_factory=dict)
    parameters: tuple[Parameter, ...] = ()
    errors: Mapping[int, str] = field(default_factory=dict)
    problem: type[BaseModel] | None = None
    problem_media: str = "application/json"
    security: Literal["user", "key", "none"] = "user"


def documented(responder: R, operation: Operation) -> R:
    """Let a handler carry its description."""
    setattr(responder, _ATTRIBUTE, operation)
    return responder


def operation_of(responder: object) -> Operation | None:
    """The description that a handler carries, if any."""
    found = getattr(responder, _ATTRIBUTE, None)
    return found if isinstance(found, Operation) else None
