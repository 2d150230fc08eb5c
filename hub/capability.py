"""What a capability hands to the hub, and how its handlers say what they do.

A capability is a package named in ``routing.yaml`` that exports ``capability``. The hub loads it by name and learns
everything about it from this one object.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

from pydantic import BaseModel

from hub.event import Event
from hub.flow.priority import Priority

if TYPE_CHECKING:
    import typer
    from aiohttp import web
    from prometheus_client.metrics_core import Metric
    from sqlalchemy import MetaData
    from sqlalchemy.ext.asyncio import AsyncConnection

    from hub.api import HubApi
    from hub.console.offered import OfferedPage
    from hub.deliver.context import Context
    from hub.inbox.received import Accepted
    from hub.ingress.schemes import SchemeFactory
    from hub.ledger import Account
    from hub.settings import EnvironmentSettings

HandlerFunction: TypeAlias = "Callable[[Any, Context], Awaitable[object]]"
AccountsOf: TypeAlias = "Callable[[Any], Sequence[Account]]"
LockAhead: TypeAlias = "Callable[[Sequence[Any], AsyncConnection], Awaitable[Sequence[Account]]]"

ReplyMore: TypeAlias = "Callable[[HubApi, Accepted], Awaitable[Mapping[str, object]]]"

HANDLER_S_MAX = 10.0
"""How long a database handler may run before it is stopped; it holds a transaction open."""
CALL_HANDLER_S_MAX = 120.0
"""How long a calling handler may run in all."""


@dataclass(frozen=True, slots=True)
class HandlerSpec:
    """One handler: its function, what it touches and the model its events are read into (``Event`` = as it is)."""

    function: HandlerFunction
    kind: Literal["database", "calls"]
    provider: str | None = None
    model: type[BaseModel] | None = None
    accounts: AccountsOf | None = None
    timeout_s: float = HANDLER_S_MAX
    priority: Priority = Priority.MONEY
    ahead: LockAhead | None = None


@overload
def handler(function: HandlerFunction) -> HandlerSpec: ...
@overload
def handler(
    *, accounts: AccountsOf | None = None, ahead: LockAhead | None = None, timeout_s: float = HANDLER_S_MAX
) -> Callable[[HandlerFunction], HandlerSpec]: ...
def handler(
    function: HandlerFunction | None = None,
    *,
    accounts: AccountsOf | None = None,
    ahead: LockAhead | None = None,
    timeout_s: float = HANDLER_S_MAX,
) -> HandlerSpec | Callable[[HandlerFunction], HandlerSpec]:
    """Mark a handler that touches only the database. It is batched with others and awaits nothing else.

    ``accounts`` names the ledger accounts that it will move, so that a batch locks them in one order. Where the tables
    say what that is, ``ahead`` is asked instead, once for all deliveries of a batch whose handlers share it: it locks
    the rows that they will touch, in an order of its own, and answers with the accounts.
    """

    def mark(function: HandlerFunction) -> HandlerSpec:
        model = _model_of(function)
        return HandlerSpec(function, "database", None, model, accounts, timeout_s, ahead=ahead)

    return mark if function is None else mark(function)


def calls(
    provider: str, *, timeout_s: float = CALL_HANDLER_S_MAX, priority: Priority = Priority.MONEY
) -> Callable[[HandlerFunction], HandlerSpec]:
    """Mark a handler that calls ``provider``. It runs as a task of its own, with no transaction open during a call.

    ``priority`` says who goes first where the provider takes only so many; ``providers:`` in routing.yaml bounds it.
    """

    def mark(function: HandlerFunction) -> HandlerSpec:
        return HandlerSpec(function, "calls", provider, _model_of(function), None, timeout_s, priority)

    return mark


def _model_of(function: HandlerFunction) -> type[BaseModel] | None:
    first = next(iter(inspect.signature(function).parameters), None)
    annotation = typing.get_type_hints(function, localns={"Context": object}).get(first or "", Event)
    if annotation is Event:
        return None
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    raise TypeError(f"{function.__qualname__}: the first parameter must be Event or a pydantic model, not {annotation}")


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One finding of ``hub doctor``: what was checked, whether it holds, and what to do when it does not."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, kw_only=True)
class Capability:
    """Everything that one capability brings.

    handlers     short name → HandlerSpec; routing.yaml calls it ``<capability>.<short name>``
    schemas      short name → pydantic model, for ``schema:`` of a source (``<capability>.<short name>``)
    emits        type → model of the events that its handlers emit, for the published schemas
    publishes    short name of a handler → routing key → model of what it publishes
    reads        short name of a handler that takes events as they are → type → model of what it reads
    http         builds the aiohttp routes of the capability's own API
    cli          a typer group, shown as ``hub <capability>``
    sandbox_cli  a typer group that plays the provider, shown as ``hub sandbox <capability>``
    tables       the capability's SQLAlchemy metadata (None when it has none)
    migrations   the folder of its Alembic branch
    schemes      webhook authentication schemes of its own
    replies      source → what is added to its ``reply.ok``, asked once the event is stored
    sandbox      prepares the local stand-in of the provider when the hub starts, under ``HUB_SANDBOX``
    measures     what Prometheus is told of the capability's own state; asked every half minute
    checks       what ``hub doctor <capability>`` asks
    console      pages of its own in the console: tables to look through and files to take
    reports      name → the command ``hub report <name>``
    reconcile    the command ``hub reconcile <capability>``: the provider's statement against the books
    settings     its class of settings, read once at start
    first_steps  what ``hub run`` proposes to try first
    """

    name: str
    handlers: Mapping[str, HandlerSpec] = field(default_factory=dict)
    schemas: Mapping[str, type[BaseModel]] = field(default_factory=dict)
    emits: Mapping[str, type[BaseModel]] = field(default_factory=dict)
    publishes: Mapping[str, Mapping[str, type[BaseModel]]] = field(default_factory=dict)
    reads: Mapping[str, Mapping[str, type[BaseModel]]] = field(default_factory=dict)
    http: Callable[[HubApi], Iterable[web.AbstractRouteDef]] | None = None
    cli: typer.Typer | None = None
    sandbox_cli: typer.Typer | None = None
    tables: MetaData | None = None
    migrations: Path | None = None
    schemes: Mapping[str, SchemeFactory] = field(default_factory=dict)
    replies: Mapping[str, ReplyMore] = field(default_factory=dict)
    sandbox: Callable[[HubApi], Awaitable[None]] | None = None
    measures: Callable[[HubApi], Awaitable[Sequence[Metric]]] | None = None
    checks: Callable[[HubApi], Awaitable[Sequence[CheckResult]]] | None = None
    reconcile: Callable[..., None] | None = None
    console: Sequence[OfferedPage] = ()
    reports: Mapping[str, Callable[..., None]] = field(default_factory=dict)
    settings: type[EnvironmentSettings] | None = None
    first_steps: Sequence[str] = ()
