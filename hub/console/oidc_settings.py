"""Settings of the sign-in by an OpenID Connect issuer, read once at start."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from hub.console.addresses import BASE, is_loopback
from hub.ingress.tokens import Role
from hub.settings import EnvironmentSettings

PREFIX: Final = "oidc:"
"""Before the name of whoever an issuer vouches for: nobody else is called so."""
ROLES: Final = (Role.ADMIN, Role.OPERATOR, Role.VIEWER)
"""The highest first."""


class OidcSettings(EnvironmentSettings):
    """Whom to believe, as whom the hub is known there, and who gets which role. Without an issuer: nobody."""

    model_config = SettingsConfigDict(env_prefix="HUB_CONSOLE_OIDC_")

    issuer: str = ""
    """The issuer exactly as it calls itself."""
    client_id: str = ""
    client_secret: SecretStr = SecretStr("")
    """Empty = a public client; the code is bound by PKCE either way."""
    url: str = ""
    """Where browsers reach the hub, without ``/console``."""
    role_claim: str = Field(default="groups", min_length=1)
    """The claim that says what somebody is; with points, a claim within claims."""
    roles: str = ""
    """What it must say for which role: ``VALUE=ROLE`` apart by white space."""
    name_claim: str = Field(default="email", min_length=1)
    scopes: str = "openid email profile"

    @field_validator("issuer", "url")
    @classmethod
    def _safe(cls, value: str) -> str:
        if value and not is_safe(value):
            raise ValueError("expected https://HOST…, or http:// on this machine itself")
        return value

    @field_validator("roles")
    @classmethod
    def _pairs(cls, value: str) -> str:
        for pair in value.split():
            word, _, role = pair.rpartition("=")
            if not word or role not in ROLES:
                raise ValueError(f"expected VALUE=ROLE with a role out of {', '.join(ROLES)}, apart by white space")
        return value

    @field_validator("scopes")
    @classmethod
    def _openid(cls, value: str) -> str:
        if "openid" not in value.split():
            raise ValueError("expected openid among the scopes")
        return value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        missing = [name for name in ("client_id", "url", "roles") if self.issuer and not getattr(self, name)]
        if missing:
            names = ", ".join(f"HUB_CONSOLE_OIDC_{name.upper()}" for name in missing)
            raise ValueError(f"HUB_CONSOLE_OIDC_ISSUER is set, and {names} is not")
        return self

    @property
    def redirect_uri(self) -> str:
        """Where the issuer sends the browser back to; to be registered there."""
        return f"{self.url.rstrip('/')}{BASE}/oidc/callback"

    def role_of(self, claims: Mapping[str, Any]) -> Role | None:
        """The highest role that the claim gives; None where it gives none."""
        said = _claim(claims, self.role_claim)
        words = [said] if isinstance(said, str) else said if isinstance(said, list) else []
        given = {role for word, _, role in (pair.rpartition("=") for pair in self.roles.split()) if word in words}
        return next((role for role in ROLES if role in given), None)

    def name_of(self, claims: Mapping[str, Any]) -> str:
        """What the issuer calls them; empty where it does not say."""
        said = _claim(claims, self.name_claim)
        return said if isinstance(said, str) else ""

    def credential_of(self, name: str, role: str) -> bytes:
        """What a session stands on: another issuer, client or mapping of roles ends it."""
        parts = (self.issuer, self.client_id, self.role_claim, self.roles, self.name_claim, name, role)
        return hashlib.sha256("\0".join(("console oidc", *parts)).encode("utf-8", "surrogateescape")).digest()


def is_safe(url: str) -> bool:
    """Whether what is said there stays between two: TLS, or this machine itself."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    is_plain = not parts.username and not parts.fragment and url.isprintable() and " " not in url
    return is_plain and bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)))


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """A claim by its whole name (which may have points), else within claims."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
