"""What one life of the hub goes by: settings and rules, read together and found good before anything is opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hub.clock import Clock
from hub.console.oidc_settings import OidcSettings
from hub.environment import Environment
from hub.retention.settings import RetentionSettings
from hub.settings import Settings, load_settings, read_settings
from hub.wiring import Wiring, load_wiring


@dataclass(frozen=True, slots=True)
class Plan:
    """Settings and rules as they were read. Files that change afterwards do not change it."""

    settings: Settings
    environment: Environment
    wiring: Wiring
    capability_settings: Mapping[str, Any] = field(repr=False)
    """The settings of each capability by its name; None for one without."""
    retention: RetentionSettings = field(repr=False)
    oidc: OidcSettings = field(repr=False)

    @classmethod
    def read(cls, environ: Mapping[str, str], clock: Clock) -> Plan:
        """Read everything. Raises ConfigError with every mistake that was found."""
        environment, settings = Environment(environ), load_settings(environ)
        return cls.of(settings, environment, load_wiring(settings.routing, environment, clock))

    @classmethod
    def of(cls, settings: Settings, environment: Environment, wiring: Wiring) -> Plan:
        """What is read already, with what capabilities, archive and console want to know. Raises ConfigError."""
        capability_settings = {
            one.name: read_settings(one.settings, environment) if one.settings is not None else None
            for one in wiring.capabilities.members
        }
        retention, oidc = read_settings(RetentionSettings, environment), read_settings(OidcSettings, environment)
        return cls(settings, environment, wiring, capability_settings, retention, oidc)
