"""The schemes ``none`` and ``api_key``."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from hub.errors import ConfigError
from hub.event import Verdict
from hub.ingress.authentication import Decision, Request, Scheme, refused
from hub.ingress.parameters import Parameters

API_KEY_PARAMETERS = ("header", "prefix", "secret")


@dataclass(frozen=True, slots=True)
class Unauthenticated:
    """Lets everyone in. Only an explicit switch builds it."""

    def decide(self, request: Request, now: datetime) -> Decision:
        return Decision(Verdict.NONE, "the source allows unauthenticated senders")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyScheme:
    """A shared key in a header, after an optional word such as ``Apikey``. Without a key nobody is let in."""

    header: str = "authorization"
    prefix: str = ""
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def decide(self, request: Request, now: datetime) -> Decision:
        if not self.secrets:
            return refused("no secret is configured, so every request is refused")
        value = request.headers.get(self.header)
        if value is None:
            return refused(f"the header {self.header} is missing")
        key = self._key(value)
        if key is None:
            return refused(f"the header {self.header} does not begin with {self.prefix!r}")
        if not key:
            return refused(f"the header {self.header} holds no key")
        # Every secret is compared, so that the time taken does not tell which one came close.
        matches = [equal(key, secret) for secret in self.secrets]
        return Decision(Verdict.VALID, "the key matches") if any(matches) else refused("the key matches no secret")

    @property
    def headers_secret(self) -> frozenset[str]:
        """The header with the key."""
        return frozenset({self.header})

    def _key(self, value: str) -> str | None:
        if not self.prefix:
            return value.strip()
        word, _, rest = value.strip().partition(" ")
        return rest.strip() if word.lower() == self.prefix.lower() else None


def none(values: Mapping[str, object]) -> Scheme:
    """Build ``none``, which must be asked for twice."""
    parameters = Parameters("none", values, ("allow_unauthenticated",))
    allowed = parameters.flag("allow_unauthenticated")
    parameters.finish()
    if not allowed:
        raise ConfigError("auth scheme none: anyone could send events; say allow_unauthenticated: true to mean it")
    return Unauthenticated()


def api_key(values: Mapping[str, object]) -> Scheme:
    """Build ``api_key``."""
    parameters = Parameters("api_key", values, API_KEY_PARAMETERS)
    scheme = ApiKeyScheme(
        header=parameters.text("header", "authorization").strip().lower(),
        prefix=parameters.text("prefix").strip(),
        secrets=parameters.secrets(),
    )
    if not scheme.header:
        parameters.complain("header: expected the name of a header")
    parameters.finish()
    return scheme


def equal(given: str, secret: str) -> bool:
    """Compare in constant time, any characters allowed."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), secret.encode("utf-8", "surrogateescape"))
