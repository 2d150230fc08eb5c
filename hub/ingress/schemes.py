"""The registry of authentication schemes: the hub's own, and those that capabilities bring, by name."""

from __future__ import annotations

from collections.abc import Mapping

from hub.errors import ConfigError
from hub.ingress.authentication import (
    Decision,
    NeedsHeaders,
    Request,
    Scheme,
    SchemeFactory,
    SecretHeaders,
    refused,
)
from hub.ingress.keys import api_key, none
from hub.ingress.signatures import hmac_signature
from hub.routing.fields import hint

__all__ = [
    "BUILT_IN",
    "Decision",
    "NeedsHeaders",
    "Request",
    "Scheme",
    "SchemeFactory",
    "SchemeRegistry",
    "SecretHeaders",
    "refused",
]

BUILT_IN: Mapping[str, SchemeFactory] = {"none": none, "api_key": api_key, "hmac": hmac_signature}


class SchemeRegistry:
    """Builds a source's scheme from what stands under ``auth:`` in routing.yaml."""

    def __init__(self, *more: Mapping[str, SchemeFactory]) -> None:
        self._factories: dict[str, SchemeFactory] = dict(BUILT_IN)
        for factories in more:
            for name, factory in factories.items():
                if name in self._factories:
                    raise ConfigError(f"auth scheme {name!r} is registered twice")
                self._factories[name] = factory

    @property
    def names(self) -> list[str]:
        """Every scheme that a source may name."""
        return sorted(self._factories)

    def build(self, auth: Mapping[str, object]) -> Scheme:
        """The scheme that ``auth`` names, with its other members as parameters. Raises ConfigError."""
        name = auth.get("scheme")
        if not isinstance(name, str) or name not in self._factories:
            near = hint(str(name), self._factories)
            raise ConfigError(f"auth scheme: expected one of {', '.join(self.names)}, found {name!r}{near}")
        return self._factories[name]({key: value for key, value in auth.items() if key != "scheme"})
