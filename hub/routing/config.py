"""What routing.yaml may say, as models. Every field tells its meaning, and the editor's schema is made from it.

These are frozen and know nothing of files: ``load.py`` reads the file and gives every mistake its line and column.
``sources.py`` holds the part about sources.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

from cronsim import CronSim, CronSimError
from pydantic import Field, field_validator, model_validator

from hub.routing.fields import (
    Duration,
    EntryName,
    HandlerName,
    ModuleName,
    Names,
    Patterns,
    QueueName,
    RouteName,
    TypeName,
    Zone,
    nearest,
    shown,
    wrong,
)
from hub.routing.flow import CircuitConfig, ProviderConfig, RateConfig
from hub.routing.model import Model
from hub.routing.sources import QUEUE_TYPE_DEFAULT, QueueArguments, QueueType, SourceConfig

ATTEMPTS_DEFAULT: Final = 12
ATTEMPTS_LIMIT: Final = 1_000
IN_FLIGHT_DEFAULT: Final = 500
IN_FLIGHT_LIMIT: Final = 10_000
CONDITION_CHARS_MAX: Final = 4_096
ROUTES_MAX: Final = 10_000

_TEMPLATE_FIELDS: Final = ("event.type", "event.key", "event.source")
_ANY_TIME: Final = datetime(2026, 1, 1, tzinfo=UTC)
_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")


class DestinationConfig(Model):
    """Where messages go: a queue, or an exchange with the queues bound to it. The hub declares what it names."""

    queue: QueueName | None = None
    """A queue. It is bound with # to a topic exchange of its own; a message's routing key is its event's type."""
    exchange: QueueName | None = None
    """A topic exchange."""
    routing_key: str | None = Field(default=None, min_length=1, max_length=255)
    """The routing key at that exchange; {event.type}, {event.key} and {event.source} are filled in."""
    bind: dict[QueueName, Patterns] = Field(default_factory=dict)
    """Queues of that exchange, each with the patterns it is bound by."""
    type: QueueType = QUEUE_TYPE_DEFAULT
    """RabbitMQ's kind of queue, for the queues that are named here."""
    arguments: QueueArguments = Field(default_factory=dict)
    """Further arguments of these RabbitMQ queues, such as x-max-length; null takes away one that the hub would set."""
    max_in_flight: int = Field(default=IN_FLIGHT_DEFAULT, ge=1, le=IN_FLIGHT_LIMIT)
    """How many messages may wait for the broker's confirm at once."""
    rate: RateConfig | None = None
    """How many messages may leave per second; unset means no bound."""
    circuit: CircuitConfig | None = CircuitConfig(open="5s")
    """When to leave it alone because the broker refuses what goes there; null means never."""

    @field_validator("routing_key")
    @classmethod
    def _template(cls, value: str | None) -> str | None:
        for name in _PLACEHOLDER.findall(value or ""):
            if name not in _TEMPLATE_FIELDS:
                raise wrong(f"unknown field {name!r} in {{}}; {nearest(name, _TEMPLATE_FIELDS)}")
        if set(_PLACEHOLDER.sub("", value or "")) & {"{", "}"}:
            raise wrong(f"expected a name between {{ and }}, found {shown(value)}")
        return value

    @model_validator(mode="after")
    def _one_of(self) -> DestinationConfig:
        if (self.queue is None) == (self.exchange is None):
            raise wrong("expected either queue or exchange")
        if self.queue is not None and (self.routing_key is not None or self.bind):
            raise wrong("routing_key and bind belong to an exchange: a queue takes every event under its own type")
        return self

    @property
    def exchange_name(self) -> str:
        """The exchange to publish to; a queue has one of its own, ``hub.<queue>``."""
        return self.exchange if self.exchange is not None else f"hub.{self.queue}"

    @property
    def bindings(self) -> Mapping[str, tuple[str, ...]]:
        """The queues to declare, each with the patterns that bind it to the exchange."""
        return {self.queue: ("#",)} if self.queue is not None else self.bind

    def routing_key_for(self, *, type_: str, key: str | None, source: str) -> str:
        """The routing key of one message; an absent key is filled in as nothing."""
        values = {"event.type": type_, "event.key": key or "", "event.source": source}
        return _PLACEHOLDER.sub(lambda found: values[found[1]], self.routing_key or "{event.type}")


class RetryConfig(Model):
    """How a delivery that failed is tried again: exponential back-off with jitter, then it is parked."""

    attempts: int = Field(default=ATTEMPTS_DEFAULT, ge=1, le=ATTEMPTS_LIMIT)
    """How often it is tried in all."""
    first_s: Duration = Field(default=1.0, alias="first")
    """The wait before the second attempt; it doubles each time."""
    longest_s: Duration = Field(default=600.0, alias="longest")
    """No wait is longer."""

    @model_validator(mode="after")
    def _in_order(self) -> RetryConfig:
        if self.first_s > self.longest_s:
            raise wrong(f"expected first to be at most longest, found {self.first_s:g} s and {self.longest_s:g} s")
        return self


class ExampleConfig(Model):
    """A message of this route's kind, run by ``hub routes test``."""

    file: str = Field(min_length=1, max_length=1_000)
    """The body; the path starts at the folder of routing.yaml."""
    matches: bool = True
    """Whether the route must take it or leave it."""
    source: str | None = None
    """Its source; unset means the one that the route names, or the only one that can send it."""
    type: TypeName | None = None
    """Its routing key; unset means the source's fixed type or the route's only pattern."""
    headers: dict[str, str] = Field(default_factory=dict)
    """Its headers."""


class RouteConfig(Model):
    """Which events go where. Every route that matches makes one delivery, with its own attempts and fate."""

    name: RouteName
    """A verb and its object. It is the route's identity in logs, metrics and the database."""
    was: tuple[RouteName, ...] = ()
    """Its former names; with them it keeps its history across a rename."""
    match: Patterns
    """Types to match: * stands for one word, # for any number of words."""
    source: Names = ()
    """Only events of these sources."""
    when: str | None = Field(default=None, min_length=1, max_length=CONDITION_CHARS_MAX)
    """Only events for which this condition (CEL) is true. A missing field is an error unless asked for with has()."""
    handle: HandlerName | None = None
    """The handler that runs, as capability.handler."""
    publish: Names = ()
    """Destinations. Alone: the event goes there byte for byte. With handle: what the handler publishes goes there."""
    retry: RetryConfig = RetryConfig()
    """How often and how patiently a failed delivery is tried again."""
    on_park: Literal["wait", "continue"] = "wait"
    """What later events of the same key do while one is parked: wait behind it, or go on."""
    options: dict[str, Any] = Field(default_factory=dict, repr=False)
    """Settings for the handler."""
    examples: tuple[ExampleConfig, ...] = ()
    """Messages that this route must take or leave, run by ``hub routes test``."""
    disabled: bool = False
    """A disabled route takes nothing."""

    @model_validator(mode="after")
    def _leads_somewhere(self) -> RouteConfig:
        if self.handle is None and not self.publish:
            raise wrong("expected handle, publish or both: a route must lead somewhere")
        return self


class ScheduleConfig(Model):
    """An event at certain times. Its source is schedule.<name>, its identity the scheduled instant."""

    cron: str | None = None
    """Five fields: minute, hour, day of month, month, day of week."""
    every_s: Duration | None = Field(default=None, alias="every")
    """A period, counted from midnight UTC of 1 January 1970."""
    zone: Zone = "UTC"
    """The time zone in which cron is read; changes of daylight saving neither skip nor repeat."""
    emit: TypeName
    """The type of the event."""
    key: str | None = Field(default=None, min_length=1, max_length=200)
    """The key of the event."""
    data: dict[str, Any] = Field(default_factory=dict)
    """The body of the event."""
    catch_up: Literal["last", "all", "none"] = "last"
    """What happens for the instants that passed while the hub was down."""

    @field_validator("cron")
    @classmethod
    def _cron(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if len(value.split()) != 5:
            raise wrong(f"expected five fields (minute, hour, day of month, month, day of week), found {shown(value)}")
        try:
            CronSim(value, _ANY_TIME)
        except CronSimError as error:
            raise wrong(f"expected a cron expression, found {shown(value)}: {error}") from None
        return value

    @model_validator(mode="after")
    def _one_of(self) -> ScheduleConfig:
        if (self.cron is None) == (self.every_s is None):
            raise wrong("expected either cron or every")
        if self.every_s is not None and self.every_s < 1:
            raise wrong("expected a period of at least 1s")
        return self


class RoutingConfig(Model):
    """The whole of routing.yaml: the wiring between what comes in, what is done with it, and where it goes."""

    version: Literal[1]
    """The version of this file's form."""
    capabilities: tuple[ModuleName, ...] = ()
    """The packages that bring handlers, schemas and authentication schemes."""
    sources: dict[EntryName, SourceConfig] = Field(default_factory=dict)
    """Where messages come from."""
    destinations: dict[EntryName, DestinationConfig] = Field(default_factory=dict)
    """Where messages go."""
    routes: tuple[RouteConfig, ...] = Field(default=(), max_length=ROUTES_MAX)
    """Which events go where; the order is only the order in which they are shown."""
    schedules: dict[EntryName, ScheduleConfig] = Field(default_factory=dict)
    """Events at certain times."""
    providers: dict[EntryName, ProviderConfig] = Field(default_factory=dict)
    """What the providers that handlers call are asked at most; one that is not named has the defaults."""
