"""The hub's settings: read once at start from ``HUB_…`` variables into one frozen object.

Source: docs/settings.md. A capability's own settings are read the same way, by ``read_settings``.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from hub.environment import HOME_DEFAULT, Environment
from hub.errors import ConfigError, Problem
from hub.routing.fields import parse_duration

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
MIB = 1024 * 1024
SEAL_S_MAX = 3_600.0
DRIVERS: Mapping[str, str] = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
PASSWORD_CHARS_MIN = 12
PASSWORD_CHARS_MAX = 200
"""Of a user of the console. A longer one is refused before it is hashed."""
GENERATED: dict[str, Any] = {"generated": True}
"""Marks a secret that the hub makes up under ``HUB_SANDBOX`` when it is missing."""

Model = TypeVar("Model", bound=BaseSettings)


class EnvironmentSettings(BaseSettings):
    """Base of settings: frozen, no unknown fields, values only from the environment that ``read_settings`` is given."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Nothing is read behind the caller's back: importing or building a model touches no variable and no file."""
        return (init_settings,)


def _networks(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class Settings(EnvironmentSettings):
    """Everything that can be set. Sizes are bytes, times are seconds."""

    model_config = SettingsConfigDict(env_prefix="HUB_")

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    probes_port: int | None = Field(default=None, ge=0, le=65535)
    """Where a process without the role ingress answers probes and /metrics; None = nowhere."""
    home: Path = Path(HOME_DEFAULT)
    routing: Path = Path("routing.yaml")
    database_url: SecretStr = SecretStr("")
    database_direct_url: SecretStr = SecretStr("")
    database_pooler: Literal["none", "transaction"] = "none"
    """Whether a pooler stands between us and PostgreSQL that gives a connection away after each transaction."""
    database_upgrade: bool = True
    broker_url: SecretStr | None = None

    api_key: SecretStr | None = Field(default=None, json_schema_extra=GENERATED)
    api_keys: SecretStr | None = None
    jwt_secret: SecretStr | None = Field(default=None, json_schema_extra=GENERATED)
    jwt_public_key: SecretStr | None = None
    jwt_audience: str = ""
    jwt_issuer: str = ""
    sandbox: bool = False
    console: Literal["auto", "on", "off"] = "auto"
    """auto: on where only this machine reaches it, and where somebody can sign in."""
    console_password: SecretStr | None = Field(default=None, json_schema_extra=GENERATED)
    """Of the user ``admin`` at the console."""
    console_users: SecretStr | None = None
    """Further users of the console, ``name:role:hash``, apart by white space."""
    console_session_s: float = Field(default=43_200.0, ge=60, le=30 * 86_400)
    """How long a sign-in at the console lasts at most."""
    console_idle_s: float = Field(default=3_600.0, ge=60, le=30 * 86_400)
    """After how long without a click somebody must sign in again."""
    trusted_proxies: Annotated[tuple[Network, ...], BeforeValidator(_networks)] = ()

    body_bytes_max: int = Field(default=MIB, ge=1024, le=64 * MIB)
    """A request of the hub's own API, `/events` included. A source has its own bound in routing.yaml."""
    bodies_bytes_max: int = Field(default=64 * MIB, ge=MIB)
    """All request bodies in memory at once; beyond that senders are told to come again."""
    requests_max: int = Field(default=1_000, ge=1, le=100_000)
    """Requests in hand at once."""
    connections_max: int = Field(default=2_000, ge=1, le=100_000)
    """Connections at once; fewer where the process may not have as many file descriptors."""
    body_s_max: float = Field(default=15.0, gt=0, le=300)
    """How long a sender may take to send a body."""
    idle_s_max: float = Field(default=30.0, gt=0, le=3_600)
    """How long a connection may take to send the head of a request."""
    inbox_queue_max: int = Field(default=2_000, ge=1, le=1_000_000)
    """Messages that wait for the inbox's next commit."""
    batch_size: int = Field(default=500, ge=1, le=10_000)
    """Deliveries in one unit of work."""
    database_pool_size: int = Field(default=10, ge=1, le=500)
    database_busy_timeout_s: float = Field(default=5.0, gt=0, le=600)
    broker_prefetch: int = Field(default=1500, ge=1, le=65_535)
    """Messages of one RabbitMQ queue that may be in hand, read and not yet acknowledged."""
    publish_timeout_s: float = Field(default=10.0, gt=0, le=300)
    """How long the broker may take to confirm a batch of messages."""
    lease_s: float = Field(default=15.0, ge=1, le=600)
    """How long a worker that says nothing counts as alive."""
    stop_deadline_s: float = Field(default=50.0, gt=0, le=3_600)
    """How long a stop may take in all; calls in flight get all of it but ten seconds."""
    refresh: str = ""
    """When the hub renews itself, as five fields of cron; empty = never."""
    refresh_zone: str = "UTC"
    seal: str = "1s"
    """How often a block is appended to the seal; off = never."""

    @field_validator("home", "routing")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("database_url", "database_direct_url")
    @classmethod
    def _driver(cls, value: SecretStr) -> SecretStr:
        return SecretStr(normal_database_url(value.get_secret_value()))

    @field_validator("console_password")
    @classmethod
    def _password(cls, value: SecretStr | None) -> SecretStr | None:
        # An empty one is as good as none: there is no such user then.
        chars = len(revealed(value))
        if chars and not PASSWORD_CHARS_MIN <= chars <= PASSWORD_CHARS_MAX:
            raise ValueError(f"expected a password of {PASSWORD_CHARS_MIN} to {PASSWORD_CHARS_MAX} characters")
        return value

    @field_validator("refresh")
    @classmethod
    def _cron(cls, value: str) -> str:
        try:
            if value and len(value.split()) != 5:
                raise CronSimError
            if value:
                CronSim(value, datetime(2026, 1, 1, tzinfo=UTC))
        except CronSimError:
            raise ValueError("expected five fields of cron, such as 0 0 * * *") from None
        return value

    @field_validator("seal")
    @classmethod
    def _interval(cls, value: str) -> str:
        if value != "off" and not 0.1 <= parse_duration(value) <= SEAL_S_MAX:
            raise ValueError(f"expected off, or a time from 0.1s to {SEAL_S_MAX:g}s such as 1s")
        return value

    @field_validator("refresh_zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise ValueError("expected the name of a time zone such as Asia/Tokyo") from None
        return value

    @field_validator("broker_url")
    @classmethod
    def _broker(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(("amqp://", "amqps://", "pubsub://")):
            raise ValueError("expected amqp://…, amqps://… or pubsub://PROJECT")
        return value

    @property
    def database(self) -> str:
        """The database's address, with its driver; SQLite in ``home`` where none is set. Holds a password."""
        return self.database_url.get_secret_value() or f"{DRIVERS['sqlite']}:///{self.home / 'hub.db'}"

    @property
    def seal_s(self) -> float | None:
        """Seconds between two blocks of the seal; None = nothing is sealed."""
        return None if self.seal == "off" else parse_duration(self.seal)

    @property
    def is_database_pooled(self) -> bool:
        """Whether a pooler may give our connection to somebody else after each transaction."""
        return self.database_pooler == "transaction"

    @property
    def database_direct(self) -> str:
        """The database's address without a pooler in between. Holds a password."""
        return self.database_direct_url.get_secret_value() or self.database

    @property
    def broker(self) -> str | None:
        """The broker's address; None means the embedded queues. Holds a password."""
        return self.broker_url.get_secret_value() if self.broker_url else None


def revealed(secret: SecretStr | None) -> str:
    """The text of a secret, empty when there is none. For those who compare or sign with it alone."""
    return secret.get_secret_value() if secret is not None else ""


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read the hub's settings. Raises ConfigError, which lists every variable that is wrong and what was expected.

    Under ``HUB_SANDBOX`` a missing HUB_API_KEY or HUB_JWT_SECRET is generated and kept in ``HUB_HOME/secrets``.
    """
    return read_settings(Settings, environ)


def read_settings(model: type[Model], environ: Mapping[str, str]) -> Model:
    """Read any settings model from the environment; its ``env_prefix`` and aliases name the variables.

    A field of type SecretStr may also come from a file (``NAME_FILE``); one marked with ``GENERATED`` is made up under
    ``HUB_SANDBOX``. Raises ConfigError.
    """
    environment = environ if isinstance(environ, Environment) else Environment(environ)
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    for field, info in model.model_fields.items():
        try:
            value = _value(variable_names(model, field), info, environment)
        except ConfigError as error:
            problems.extend(error.problems)
        else:
            if value is not None:
                values[field] = value
    try:
        settings = model(**values)
    except ValidationError as error:
        raise ConfigError([*problems, *_problems(model, error, values)]) from None
    if problems:
        raise ConfigError(problems)
    return settings


def variable_names(model: type[BaseSettings], field: str) -> list[str]:
    """The variables that set a field, the first one preferred."""
    alias = model.model_fields[field].validation_alias
    if isinstance(alias, AliasChoices):
        return [str(choice) for choice in alias.choices]
    if isinstance(alias, str):
        return [alias]
    return [f"{model.model_config.get('env_prefix', '')}{field}".upper()]


def normal_database_url(text: str) -> str:
    """The address with the driver that the hub uses; empty stays empty. Raises ValueError, without the password."""
    if not text:
        return ""
    try:
        url = make_url(text.replace("postgres://", "postgresql://", 1) if text.startswith("postgres://") else text)
    except (ArgumentError, ValueError):
        raise ValueError("expected sqlite:///FILE or postgresql://USER@HOST/DATABASE") from None
    backend = url.get_backend_name()
    if backend not in DRIVERS:
        raise ValueError(f"expected a sqlite or postgresql address, found {backend}")
    return _without_sslmode(url.set(drivername=DRIVERS[backend])).render_as_string(hide_password=False)


def _without_sslmode(url: URL) -> URL:
    # What libpq calls sslmode, asyncpg calls ssl; platforms hand out the former.
    mode = url.query.get("sslmode")
    if mode is None:
        return url
    return url.difference_update_query(["sslmode"]).update_query_dict({"ssl": mode})


def _value(names: list[str], info: FieldInfo, environment: Environment) -> str | None:
    is_secret = "SecretStr" in str(info.annotation)
    for name in names:
        value = environment.given(name) if is_secret else environment.plain(name)
        if value is not None:
            return value
    extra = info.json_schema_extra
    if environment.is_sandbox and isinstance(extra, dict) and extra.get("generated"):
        return environment.generated(names[0])
    return None


def _problems(model: type[BaseSettings], error: ValidationError, values: Mapping[str, str]) -> list[Problem]:
    found: dict[str, Problem] = {}
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        field = str(item["loc"][0]) if item["loc"] else ""
        known = field in model.model_fields
        name = variable_names(model, field)[0] if known else model.__name__
        message = item["msg"].removeprefix("Value error, ").replace("Input should", "expected it to", 1)
        if item["type"] == "missing":
            message = "expected a value, found none"
        elif known and field in values and "SecretStr" not in str(model.model_fields[field].annotation):
            message = f"{message}, found {values[field][:80]!r}"
        # One sentence per variable: a union would otherwise complain once for each of its members.
        found.setdefault(name, Problem(f"{name}: {message}"))
    return list(found.values())
