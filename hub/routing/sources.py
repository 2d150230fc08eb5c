"""What routing.yaml says about a source: how its messages come in, and how an event is read from one of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    SecretStr,
    field_validator,
    model_validator,
)

from hub.errors import UnreadableError
from hub.jsonbody import parse_json, write_json
from hub.routing.fields import (
    Networks,
    Paths,
    Patterns,
    QueueName,
    TypeName,
    UrlPath,
    Zone,
    is_path,
    path_problem,
    shown,
    wrong,
)
from hub.routing.model import Model
from hub.routing.patterns import type_problem

BODY_BYTES_DEFAULT: Final = 1_048_576
BODY_BYTES_LIMIT: Final = 67_108_864
PARTITIONS_LIMIT: Final = 256

QueueType: TypeAlias = Literal["quorum", "classic", "stream"]
QUEUE_TYPE_DEFAULT: Final = "quorum"
QueueArguments: TypeAlias = dict[Annotated[str, Field(pattern=r"^x-[a-z0-9-]{1,60}$")], bool | int | str | None]

BODY_HASH: Final = "body_hash"
TYPE_PART: Final = "type"
ROUTING_KEY: Final = "routing_key"

IdAlternative = tuple[str, ...]
"""The parts of one identity, all of which must be present; a part that ends with ``?`` may be absent."""


class AuthConfig(Model):
    """How the sender of a webhook proves itself. What else may stand here is the scheme's own."""

    model_config = ConfigDict(extra="allow")

    scheme: str = Field(min_length=1, max_length=100)
    """Name of the scheme: none, api_key, hmac, or one that a capability brings."""

    @model_validator(mode="before")
    @classmethod
    def _hide(cls, value: Any) -> Any:
        # Any text here may be a secret; repr, logs and errors then show asterisks.
        if not isinstance(value, dict):
            return value
        return {name: item if name == "scheme" else _hidden(item) for name, item in value.items()}

    @property
    def params(self) -> Mapping[str, Any]:
        """The scheme's parameters; every text is a SecretStr."""
        return self.__pydantic_extra__ or {}

    def revealed(self) -> dict[str, Any]:
        """The scheme's parameters in plain text, for the scheme alone. Never log or show what this returns."""
        return {name: _plain(item) for name, item in self.params.items()}


class WebhookConfig(Model):
    """An HTTP endpoint that a provider posts to."""

    path: UrlPath
    """Where the hub listens, such as /webhooks/orders."""
    aliases: tuple[UrlPath, ...] = ()
    """Further paths with the same meaning, such as a provider's historic address."""
    auth: AuthConfig
    """How the sender proves itself."""
    body_bytes_max: int = Field(default=BODY_BYTES_DEFAULT, ge=1, le=BODY_BYTES_LIMIT)
    """A larger body is refused with reply.too_large; bytes."""
    forms: bool = False
    """Whether a body may also be a form, url-encoded or multipart; it is read as an object of its fields."""
    allow_from: Networks = ()
    """From which networks requests are taken, as a list or separated by commas; empty means from anywhere. Behind a
    proxy set HUB_TRUSTED_PROXIES, or every request comes from the proxy."""
    keep_address: bool = False
    """Whether the sender's address stays with the event, as the header sender-address."""


class QueueConfig(Model):
    """A queue that the hub reads; with an exchange, the hub declares it and binds it."""

    name: QueueName
    """The queue's name."""
    exchange: QueueName | None = None
    """The topic exchange to bind it to; without one, the queue is read as it is."""
    bind: Patterns = ("#",)
    """Which routing keys of the exchange come in."""
    ordered: bool = True
    """One consumer at a time, so that the order of acceptance is the order of the queue; false opts out."""
    partitions: int | None = Field(default=None, ge=2, le=PARTITIONS_LIMIT)
    """Read the queue as this many partitions, each in order. Needs ``by``."""
    by: str | None = None
    """What decides the partition: ``header NAME`` or ``message_id``. Must be what the event's key is."""
    type: Literal["quorum", "classic"] = QUEUE_TYPE_DEFAULT
    """RabbitMQ's kind of queue. A stream cannot be read: its messages are not acknowledged one by one."""
    arguments: QueueArguments = Field(default_factory=dict)
    """Further arguments of a RabbitMQ queue, such as x-max-length; null takes away one that the hub would set."""

    @field_validator("by")
    @classmethod
    def _by(cls, value: str | None) -> str | None:
        if value is None or value == "message_id" or (value.startswith("header ") and value[7:].strip()):
            return value
        raise wrong(f"expected 'header NAME' or 'message_id', found {shown(value)}")

    @model_validator(mode="after")
    def _consistent(self) -> QueueConfig:
        if self.exchange is None and self.bind != ("#",):
            raise wrong("bind needs an exchange: without one there is nothing to bind the queue to")
        if self.exchange is None and self.arguments:
            raise wrong("arguments need an exchange: without one the queue is somebody else's")
        if (self.partitions is None) != (self.by is None):
            raise wrong("expected partitions and by together: how many, and what decides the partition")
        if self.partitions is not None and not self.ordered:
            raise wrong("expected either partitions or ordered: false; partitions keep the order within each")
        return self

    @property
    def partition_path(self) -> str | None:
        """The path that decides the partition, such as ``headers.x-customer``; None without partitions."""
        if self.by is None:
            return None
        return "message.message_id" if self.by == "message_id" else f"headers.{self.by[7:].strip()}"


class SameConfig(Model):
    """When two messages with one identity count as the same: by these fields only, or by all except these."""

    only: Paths = ()
    """Compare these paths."""
    excluding: Paths = Field(default=(), alias="except")
    """Compare everything but these paths."""

    @model_validator(mode="after")
    def _one_of(self) -> SameConfig:
        if bool(self.only) == bool(self.excluding):
            raise wrong("expected a list of paths to compare, or { except: [paths] } to leave out")
        return self

    @field_validator("only", "excluding")
    @classmethod
    def _within_data(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for path in value:
            if not path.startswith("data."):
                raise wrong(f"expected a path that begins with data. (the body is compared), found {shown(path)}")
        return value


def _read_same(value: object) -> object:
    return {"only": value} if isinstance(value, str | list | tuple) else value


def _read_id(value: object) -> object:
    # One identity, or a list of alternatives; a list within the list is one identity of several parts.
    alternatives = value if isinstance(value, list | tuple) else [value]
    return [list(part) if isinstance(part, list | tuple) else [part] for part in alternatives]


class EventConfig(Model):
    """How an event is read from a message. Paths begin with data., headers. or message."""

    type: str = Field(min_length=1, max_length=300)
    """The event's type: a fixed one, the word routing_key, or a path such as data.event_type."""
    rename: dict[str, TypeName] = Field(default_factory=dict)
    """Types to be called otherwise from here on: what comes in → what the hub calls it."""
    key: Paths = ()
    """The thing whose order matters, such as a customer; the first path present wins. Never the shop's own account."""
    after: Paths = ()
    """Further things whose earlier events must be done first, as a merge of two customers needs."""
    id: Annotated[
        tuple[IdAlternative, ...],
        BeforeValidator(_read_id, json_schema_input_type=str | list[str | list[str]]),
    ] = ()
    """What recognises a repeat: a path, body_hash, or a list of alternatives of which the first present wins. A list
    within the list is one identity of several parts, all present (``path?`` may be absent); the part ``type`` is the
    event's type, ``body_hash`` the whole body. Without an id, every message is an event of its own."""
    same: Annotated[
        SameConfig | None,
        BeforeValidator(_read_same, json_schema_input_type=str | list[str] | SameConfig | None),
    ] = None
    """When two messages with one identity are the same; unset means equal bodies, read as JSON."""
    occurred: Paths = ()
    """When it happened; unset or absent means when it was received."""
    occurred_zone: Zone = "UTC"
    """The time zone of times that name none, such as Asia/Ho_Chi_Minh."""
    schema_name: str | None = Field(default=None, alias="schema", max_length=200)
    """The capability's model that the body must fit, such as orders.Payment."""
    without_identity: str | None = Field(default=None, max_length=4_096)
    """A condition (CEL) for messages that claim no identity, such as a provider's test deliveries."""

    @field_validator("type")
    @classmethod
    def _type(cls, value: str) -> str:
        problem = path_problem(value) if is_path(value) else type_problem(value)
        if problem is not None:
            raise wrong(problem)
        return value

    @field_validator("id")
    @classmethod
    def _id(cls, value: tuple[IdAlternative, ...]) -> tuple[IdAlternative, ...]:
        for parts in value:
            _refuse_bad_id(parts)
        return value

    @property
    def fixed_type(self) -> str | None:
        """The one type of this source's events, after ``rename``; None where the message decides."""
        if self.type == ROUTING_KEY or is_path(self.type):
            return None
        return self.rename.get(self.type, self.type)


class Reply(Model):
    """An HTTP answer. A body of None is empty, a text is sent as it is, anything else as JSON."""

    status: int = Field(ge=200, le=599)
    """The HTTP status."""
    body: Any = None
    """The body: a text, or what is sent as JSON."""

    @field_validator("body")
    @classmethod
    def _body(cls, value: Any) -> Any:
        # Once it is to be sent it is too late: the message is stored, and its sender would hear nothing.
        try:
            parse_json(write_json(value).encode())
        except (TypeError, ValueError, RecursionError, UnreadableError):
            raise wrong("expected a text, or what can be sent as JSON") from None
        return value

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if isinstance(value, list | tuple) and 1 <= len(value) <= 2:
            return {"status": value[0], "body": value[1] if len(value) == 2 else None}
        if isinstance(value, int) and not isinstance(value, bool):
            return {"status": value}
        if isinstance(value, dict | Reply):
            return value
        raise wrong(f"expected a status such as 200, or a list of status and body, found {shown(value)}")

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """A bare status and the list are the usual ways to write it; the editor must know them."""
        written = handler(core_schema)
        status = {"type": "integer", "minimum": 200, "maximum": 599}
        pair = {"type": "array", "prefixItems": [status, {}], "minItems": 1, "maxItems": 2}
        return {"description": cls.__doc__, "anyOf": [status, pair, written]}


class ReplyConfig(Model):
    """What the hub answers to this source's sender."""

    ok: Reply = Reply(status=200)
    """Accepted, or accepted before: 2xx, given only after the commit."""
    unreadable: Reply = Reply(status=400)
    """Authenticated but unreadable: it is stored and parked; some senders must be told 200 to stop repeating."""
    unauthorized: Reply = Reply(status=401)
    """The sender was not proven; nothing is stored."""
    unavailable: Reply = Reply(status=503)
    """The hub cannot take it now; the sender is to come again."""
    too_large: Reply = Reply(status=413)
    """The body is above body_bytes_max."""

    @field_validator("ok")
    @classmethod
    def _success(cls, value: Reply) -> Reply:
        if value.status >= 300:
            raise wrong(f"expected a status from 200 to 299, found {value.status}: ok means that the event is stored")
        return value

    @field_validator("unauthorized", "unavailable", "too_large")
    @classmethod
    def _failure(cls, value: Reply) -> Reply:
        # Nothing is stored in these cases: a 2xx would make the sender forget what we do not have.
        if value.status < 400:
            raise wrong(f"expected a status from 400 to 599, found {value.status}: nothing was stored")
        return value


class UnprovenConfig(Model):
    """How much a source takes from senders that are proven only later; what comes beyond it must come again."""

    per_minute: int = Field(default=600, ge=1, le=1_000_000)
    """Messages in a minute, for each process that takes webhooks."""
    bytes_per_minute: int = Field(default=67_108_864, ge=1, le=2**40)
    """Bytes of their bodies in a minute, for each process."""


class SourceConfig(Model):
    """Where messages come from, how they are proven and read, and what their sender is answered."""

    webhook: WebhookConfig | None = None
    """An HTTP endpoint."""
    queue: QueueConfig | None = None
    """A queue of the broker."""
    post_events: bool = False
    """Whether POST /events may name this source; ``hub publish`` always may."""
    event: EventConfig
    """How an event is read from a message."""
    reply: ReplyConfig = ReplyConfig()
    """What the sender is answered."""
    mask: Paths = ()
    """What the console, the command line and explanations show as asterisks."""
    verify: Literal["now", "deferred"] = "now"
    """deferred: the sender is proven only by a handler, later; until then nothing it says claims an identity."""
    unproven: UnprovenConfig = UnprovenConfig()
    """How much is taken of what nobody has proven: with ``verify: deferred``, and wherever it is written."""

    @property
    def is_unproven(self) -> bool:
        """Whether its messages come from senders that nobody has proven yet."""
        return self.verify == "deferred"

    @property
    def has_allowance(self) -> bool:
        """Whether so much is taken from it and no more, since anybody may send."""
        return self.is_unproven or "unproven" in self.model_fields_set

    @model_validator(mode="after")
    def _unproven_words_decide_nothing(self) -> SourceConfig:
        event = self.event
        if not self.is_unproven:
            return self
        if event.fixed_type is None or event.key or event.after or event.schema_name or event.without_identity:
            raise wrong(
                "verify: deferred needs a fixed type and no key, after, schema or without_identity: what the message"
                " says is read once its sender is proven"
            )
        if not event.id or any(BODY_HASH not in parts for parts in event.id):
            raise wrong(
                "verify: deferred needs body_hash in each alternative of event.id: a forged message must not take the"
                " identity of a genuine one; its own id is claimed by the handler that proves it"
            )
        return self

    @model_validator(mode="after")
    def _partitions_follow_the_key(self) -> SourceConfig:
        # Two messages of one key in two partitions would be accepted in any order.
        path = self.queue.partition_path if self.queue is not None else None
        if path is not None and self.event.key not in ((path,), (path.lower(),)):
            found = ", ".join(self.event.key) or "no key"
            raise wrong(f"partitions by {path} need the event's key to be that same value, found {found}")
        return self


def _refuse_bad_id(parts: IdAlternative) -> None:
    if parts == (BODY_HASH,):
        return
    for part in parts:
        path = part.removesuffix("?") if len(parts) > 1 else part
        if (path == TYPE_PART or part == BODY_HASH) and len(parts) > 1:
            continue
        problem = path_problem(path)
        if problem is not None and path in (BODY_HASH, TYPE_PART):
            problem = f"{part!r} cannot stand here: body_hash is always there, type stands beside a path in a list"
        if problem is not None:
            raise wrong(problem.replace("expected a path that", "expected body_hash or a path that"))
    if all(part == TYPE_PART or part.endswith("?") for part in parts):
        raise wrong("expected at least one path that must be present, or every message would be the same")


def _hidden(value: Any) -> Any:
    if isinstance(value, str):
        return SecretStr(value)
    if isinstance(value, dict):
        return {name: _hidden(item) for name, item in value.items()}
    return [_hidden(item) for item in value] if isinstance(value, list | tuple) else value


def _plain(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
