"""One version of routing.yaml with the capabilities it names: everything that a reload exchanges, in one object."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel

from hub.apidoc.published import Published
from hub.capability import Capability, HandlerSpec
from hub.clock import Clock
from hub.deliver.registry import Rules
from hub.environment import Environment
from hub.errors import ConfigError
from hub.inbox.drafting import CompiledSource, Drafter
from hub.ingress.schemes import SchemeRegistry
from hub.routing import (
    CompiledRoute,
    Condition,
    DestinationConfig,
    EventReader,
    Known,
    LoadedRouting,
    ProviderConfig,
    Router,
    RoutingConfig,
    ScheduleConfig,
    SourceConfig,
)
from hub.routing.load import capability_names, read_routing
from hub.settings import variable_names


@dataclass(frozen=True)
class Capabilities:
    """The capabilities that routing.yaml names, and what they bring under full names."""

    members: tuple[Capability, ...]
    handlers: Mapping[str, HandlerSpec]
    schemas: Mapping[str, type[BaseModel]]
    schemes: SchemeRegistry

    @property
    def providers(self) -> frozenset[str]:
        """Everybody whom a handler calls."""
        return frozenset(one.provider for one in self.handlers.values() if one.provider is not None)

    def named(self, name: str) -> Capability | None:
        return next((one for one in self.members if one.name == name), None)


@dataclass(frozen=True)
class Wiring:
    """One loaded routing.yaml, ready for work once its routes have their numbers."""

    loaded: LoadedRouting
    router: Router
    drafter: Drafter
    capabilities: Capabilities

    @property
    def config(self) -> RoutingConfig:
        return self.loaded.config

    @property
    def destinations(self) -> Mapping[str, DestinationConfig]:
        return self.config.destinations

    @property
    def providers(self) -> Mapping[str, ProviderConfig]:
        return self.config.providers

    @property
    def schedules(self) -> Mapping[str, ScheduleConfig]:
        return self.config.schedules

    @cached_property
    def published(self) -> Published:
        """What the messages of this wiring look like, for those who send and read them."""
        return Published(self.config, self.capabilities.members)

    def provider_of(self, route: str) -> str | None:
        """Whom the handler of this route calls; None when it calls nobody."""
        handle = next((one.handle for one in self.config.routes if one.name == route), None)
        spec = self.capabilities.handlers.get(handle or "")
        return spec.provider if spec is not None else None

    def rules(self, route_ids: Mapping[str, int]) -> Rules:
        """The rules that workers go by, once the database has numbered the routes."""
        by_id: dict[int, CompiledRoute] = {route_ids[route.name]: route for route in self.router.routes}
        return Rules(by_id, route_ids, self.capabilities.handlers, self.drafter)


def load_wiring(path: Path, environment: Environment, clock: Clock) -> Wiring:
    """Read routing.yaml and load its capabilities. Raises ConfigError with every mistake and its place.

    A variable that a capability's settings know under several names may stand in the file under any of them.
    """
    environment = environment.with_synonyms(_synonyms(path))
    read = read_routing(path, environ=environment)
    capabilities = load_capabilities(read.checked().config.capabilities)
    known = Known(
        handlers=frozenset(capabilities.handlers),
        schemes=frozenset(capabilities.schemes.names),
        schemas=frozenset(capabilities.schemas),
        providers=capabilities.providers,
    )
    loaded = read.checked(known)
    router = Router(loaded)
    sources = {name: _compiled(name, config, capabilities) for name, config in loaded.config.sources.items()}
    return Wiring(loaded, router, Drafter(router, sources, clock), capabilities)


def _synonyms(path: Path) -> list[list[str]]:
    # The file can only be read with the environment in hand, whose names its capabilities decide. What is wrong with
    # either is told by whoever loads them in earnest.
    try:
        members = load_capabilities(capability_names(path)).members
    except ConfigError:
        return []
    settings = [one.settings for one in members if one.settings is not None]
    groups = [variable_names(model, field) for model in settings for field in model.model_fields]
    return [group for group in groups if len(group) > 1]


def load_capabilities(modules: Sequence[str]) -> Capabilities:
    """Import each package and take its ``capability``. Raises ConfigError for one that is not there or has none."""
    members = tuple(_load(module) for module in modules)
    return Capabilities(
        members=members,
        handlers={f"{one.name}.{name}": spec for one in members for name, spec in one.handlers.items()},
        schemas={f"{one.name}.{name}": model for one in members for name, model in one.schemas.items()},
        schemes=SchemeRegistry(*(one.schemes for one in members)),
    )


def _load(module: str) -> Capability:
    try:
        package = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise ConfigError(f"capabilities: there is no package {module!r}") from error
    capability = getattr(package, "capability", None)
    if not isinstance(capability, Capability):
        raise ConfigError(f"capabilities: the package {module!r} exports no `capability`")
    return capability


def _compiled(name: str, config: SourceConfig, capabilities: Capabilities) -> CompiledSource:
    event = config.event
    model = capabilities.schemas[event.schema_name] if event.schema_name is not None else None
    condition = Condition.compile(event.without_identity) if event.without_identity is not None else None
    return CompiledSource(name, config, EventReader(event), model, condition)
